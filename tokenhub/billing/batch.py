"""The rows that one batch of operations is decided on, and what the decisions change.

The store reads and locks the rows, ``rules.decide`` changes them in place, and the store
writes back what was touched: one state per row, however many operations meet in it.
"""

from dataclasses import dataclass, field

from tokenhub.accounts.accounts import AccountStatus, KeyStatus, SpendPeriod
from tokenhub.accounts.limits import RateWindow
from tokenhub.billing.holds import End, Ended, Pin, Place, RequestRecord
from tokenhub.billing.journal import Entry
from tokenhub.billing.lots import LotState, Part


@dataclass(slots=True)
class AccountState:
    """An account's row; ``lots`` are those of its lots that were read, in draw order.

    When the batch places a hold for the account they are the first that have credit available: all whose
    time has passed, and either all others or some with more than the batch can draw. In any case they
    are those of the holds it ends.
    """

    id: int
    version: int
    status: AccountStatus
    plan_id: str
    available: int
    held: int
    open_holds: int
    next_expiry_ms: int | None
    rate_blob: bytes | None
    debt: int = 0
    window: RateWindow | None = None
    lots: list[LotState] = field(default_factory=list)
    touched: bool = False


@dataclass(slots=True)
class KeyState:
    id: str
    account_id: int
    version: int
    status: KeyStatus
    expires_at_ms: int | None
    spend_limit: int | None
    spend_period: SpendPeriod
    period_start_ms: int
    period_spent: int
    period_held: int
    rate_blob: bytes | None
    replaced_by: str | None = None
    """The key that it was rotated to: from then on that one's row counts what both spend and hold."""
    window: RateWindow | None = None
    touched: bool = False


@dataclass(slots=True)
class HoldState:
    """An open hold and the parts of lots it has set aside."""

    request_id: str
    account_id: int
    key_id: str
    amount: int
    parts: tuple[Part, ...]
    period_start_ms: int
    placed_at_ms: int
    place: Place | None = None
    """What it was asked for with, when it is placed in this batch."""


@dataclass(slots=True)
class Ending:
    """A request's end, to be written: its row in ``requests`` and the lots that paid."""

    request_id: str
    account_id: int
    key_id: str
    end: End
    held: int
    record: RequestRecord
    model_fee: int = 0
    service_fee: int = 0
    shortfall: int = 0
    paid: tuple[Part, ...] = ()
    pin: Pin | None = None


@dataclass(slots=True)
class Batch:
    """All that a batch's decisions read, and the new rows they make."""

    now_ms: int
    now_s: int
    """The second of the rate windows' clock; ``window_tag`` names that clock."""
    window_tag: bytes
    installation_version: int
    catalog_version: int
    plan_versions: dict[str, int]
    accounts: dict[int, AccountState]
    keys: dict[str, KeyState]
    lots: dict[int, LotState]
    holds: dict[str, HoldState]
    """The open holds of the operations' requests."""
    ended: dict[str, Ended]
    """How the requests that have ended did so."""
    closed: list[HoldState] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
