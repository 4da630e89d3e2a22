"""Credit given by the operator: a lot like any other, with an entry in the journal."""

from typing import Final

from tokenhub.billing import lots
from tokenhub.billing.lots import Lot
from tokenhub.errors import InvalidRequest
from tokenhub.ids import new_id
from tokenhub.operations import dates
from tokenhub.operations.hub import Hub
from tokenhub.store import ledger

_TEXT_LENGTH: Final = 200


def default_expiry_ms(now_ms: int) -> int:
    """Return when credit given now expires: twelve calendar months on."""
    return dates.months_later(now_ms, lots.VALID_MONTHS)


def grant(
    hub: Hub, account_id: int, amount_nano: int, *, expires_at_ms: int | None, note: str = "", ref: str | None = None
) -> Lot:
    """Give an account credit until a moment, or for ever (None).

    ``ref`` names the grant: the same one is booked once however often it is asked for, so a
    command that was interrupted can be repeated (T124). Without one, each grant has its own.
    """
    for name, text in (("note", note), ("ref", ref or "")):
        if len(text) > _TEXT_LENGTH or not text.isprintable():
            raise InvalidRequest(f"--{name} has at most {_TEXT_LENGTH} printable characters.", param=name)
    if ref is not None and not ref.strip():
        raise InvalidRequest(
            "--ref is empty, and would not keep the grant from being booked twice. Is a variable not set?", param="ref"
        )
    now_ms = hub.database.now_ms()
    return ledger.grant(
        hub.database, account_id, amount_nano, ref or new_id("grant", now_ms), expires_at_ms, note, now_ms
    )
