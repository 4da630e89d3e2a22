"""What must always hold of the ledger, stated once: run by tests, ``doctor`` and ``ledger verify``.

    I1  no account holds or spends more than it was given: held and available are what its lots say, less its debt
    I2  a balance is the sum of its entries, less what was charged, lot by lot; so is a debt
    I3  a request has one open hold or one end, never both
    I4  a charge is at most its hold, and is the sum of its fees and of what its lots paid
    I5  a request that was released, or that the caller was told has failed, is charged nothing
    I6  a request whose end the caller saw is settled
    I9  the lines of a closed day are what its requests were charged (``day_invariants.py``)
    I10 a payment makes one lot, and no more of it goes back than was paid (``payment_invariants.py``)
    I11 a job's hold is open as long as the job: neither is without the other

The rows below put what a row says beside what the rows it sums up say. I7 (no content at
rest) and I8 (no attempt outside its boundaries) are not about money and have tests of their own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tokenhub.billing.day_invariants import DaySums, LineSums, LotDaySums, check_day, check_line, check_lot_day
from tokenhub.billing.discrepancies import Discrepancy as Discrepancy
from tokenhub.billing.discrepancies import differences
from tokenhub.billing.holds import End
from tokenhub.billing.payment_invariants import (
    DisputeSums,
    RefundSums,
    StraySums,
    TopupSums,
    check_dispute,
    check_refund,
    check_stray,
    check_topup,
)


@dataclass(frozen=True, slots=True)
class LotSums:
    id: int
    account_id: int
    granted: int
    available: int
    held: int
    frozen: int
    spent: int
    expired: int
    returned: int
    repaid: int
    entries: int
    """Sum of the lot's journal entries."""
    holds: int
    """Sum of what open holds have set aside in it."""
    charges: int | None
    """Sum of what it paid for requests: lines of closed days and requests of open ones. None: not added up."""


@dataclass(frozen=True, slots=True)
class AccountSums:
    id: int
    available: int
    held: int
    debt: int
    open_holds: int
    next_expiry_ms: int | None
    lots_available: int
    lots_held: int
    holds: int
    holds_count: int
    first_expiry_ms: int | None
    """The earliest expiry among its lots with credit available."""
    debt_entries: int
    """Sum of its journal entries that are of no lot."""


@dataclass(frozen=True, slots=True)
class KeySums:
    id: str
    period_held: int
    holds: int
    """Sum of the open holds in the current spend period, of it and of the keys that it has replaced; 0 once it is replaced."""


@dataclass(frozen=True, slots=True)
class HoldSums:
    request_id: str
    amount: int
    parts: int
    """Sum of what it has set aside in lots."""
    ended: bool
    """Whether the request has an end as well."""


@dataclass(frozen=True, slots=True)
class JobSums:
    """A job's hold without an open job, or an open job without its hold and without an end of that."""

    request_id: str
    has_hold: bool


class Seen(StrEnum):
    """What a caller saw of a request, as far as it is known."""

    UNKNOWN = "unknown"
    END = "end"
    """The terminal frame, or the whole body."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class RequestSums:
    request_id: str
    end: End
    held: int
    model_fee: int
    service_fee: int
    charged: int
    paid: int
    """Sum of what lots paid for it."""
    seen: Seen = Seen.UNKNOWN


PaymentSums = TopupSums | RefundSums | DisputeSums | StraySums
Sums = (
    LotSums | AccountSums | KeySums | HoldSums | JobSums | RequestSums | DaySums | LineSums | LotDaySums | PaymentSums
)


def check(rows: Iterable[Sums]) -> list[Discrepancy]:
    """Return every violated statement, row by row; rows are read once and not kept."""
    return [found for row in rows for found in _check_one(row)]


def _check_one(row: Sums) -> Iterator[Discrepancy]:
    match row:
        case LotSums():
            return _check_lot(row)
        case AccountSums():
            return _check_account(row)
        case KeySums():
            return differences("I1", f"key {row.id}", {"held in this period": (row.period_held, row.holds)})
        case HoldSums():
            return _check_hold(row)
        case JobSums():
            return _check_job(row)
        case RequestSums():
            return _check_request(row)
        case DaySums():
            return check_day(row)
        case LineSums():
            return check_line(row)
        case LotDaySums():
            return check_lot_day(row)
        case _:
            return _check_payment(row)


def _check_payment(row: PaymentSums) -> Iterator[Discrepancy]:
    match row:
        case TopupSums():
            return check_topup(row)
        case RefundSums():
            return check_refund(row)
        case DisputeSums():
            return check_dispute(row)
        case StraySums():
            return check_stray(row)


def _check_lot(lot: LotSums) -> Iterator[Discrepancy]:
    subject = f"lot {lot.id}"
    places = (lot.available, lot.held, lot.frozen, lot.spent, lot.expired, lot.returned, lot.repaid)
    given = lot.granted - lot.expired - lot.returned - lot.repaid
    yield from differences(
        "I2",
        subject,
        {
            "granted and where it went": (lot.granted, sum(places)),
            "credit and its entries": (given, lot.entries),
            "spent and its charges": (lot.spent, lot.spent if lot.charges is None else lot.charges),
        },
    )
    yield from differences("I1", subject, {"held and its open holds": (lot.held, lot.holds)})
    if min(places) < 0:
        yield Discrepancy("I1", subject, "an amount is below 0")


def _check_account(account: AccountSums) -> Iterator[Discrepancy]:
    subject = f"account {account.id}"
    yield from differences("I2", subject, {"debt and its entries": (account.debt, -account.debt_entries)})
    yield from differences(
        "I1",
        subject,
        {
            "available and its lots": (account.available, account.lots_available - account.debt),
            "held and its lots": (account.held, account.lots_held),
            "held and its open holds": (account.held, account.holds),
            "number of open holds": (account.open_holds, account.holds_count),
            "next expiry and its lots": (account.next_expiry_ms, account.first_expiry_ms),
        },
    )


def _check_hold(hold: HoldSums) -> Iterator[Discrepancy]:
    subject = f"hold {hold.request_id}"
    yield from differences("I4", subject, {"amount and its lots' parts": (hold.amount, hold.parts)})
    if hold.ended:
        yield Discrepancy("I3", subject, "is open although its request has ended")


def _check_job(job: JobSums) -> Iterator[Discrepancy]:
    if job.has_hold:
        yield Discrepancy("I11", f"hold {job.request_id}", "is a job's, and no such job is open: nothing will end it")
    else:
        yield Discrepancy("I11", f"job {job.request_id}", "is open without a hold: it could not be charged")


def _check_request(request: RequestSums) -> Iterator[Discrepancy]:
    subject = f"request {request.request_id}"
    fees = request.model_fee + request.service_fee
    amounts = {
        "charged and its fees": (request.charged, fees),
        "charged and what lots paid": (request.charged, request.paid),
    }
    yield from differences("I4", subject, amounts)
    if not 0 <= request.charged <= request.held:
        yield Discrepancy("I4", subject, f"is charged {request.charged} of a hold of {request.held}")
    if request.charged and request.end is End.RELEASED:
        yield Discrepancy("I5", subject, f"is released, yet charged {request.charged}")
    if request.charged and request.seen is Seen.ERROR:
        yield Discrepancy("I5", subject, f"was told to have failed, yet is charged {request.charged}")
    if request.end is not End.SETTLED and request.seen is Seen.END:
        yield Discrepancy("I6", subject, "was shown whole, yet is not settled")
