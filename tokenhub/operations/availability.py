"""Whose fault a failed attempt is, and what follows: for its deployment, for its credential, or for nobody."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from tokenhub import clock
from tokenhub.billing.notices import NoticeKind
from tokenhub.observability import log
from tokenhub.operations import notices
from tokenhub.operations.hub import Hub
from tokenhub.routing import health
from tokenhub.routing.availability import Observed, Speed
from tokenhub.routing.health import Tally
from tokenhub.store import catalog, circuits, revision
from tokenhub.store import health as health_store
from tokenhub.store.database import Database
from tokenhub.wire.faults import CLIENT_FAULTS, Failure, FaultKind


class Blame(StrEnum):
    """What a failure says something about."""

    NOBODY = "nobody"
    DEPLOYMENT = "deployment"
    """It counts for the deployment's circuit."""
    LASTING = "lasting"
    """It does not pass by itself: the deployment's circuit opens at once, for long."""
    THROTTLE = "throttle"
    """The credential is left alone for a while."""
    CREDENTIAL = "credential"
    """The credential is out of use until the operator mends it."""


_BLAME: Final[Mapping[FaultKind, Blame]] = {
    FaultKind.AUTH: Blame.CREDENTIAL,
    FaultKind.BILLING: Blame.CREDENTIAL,
    FaultKind.RATE: Blame.THROTTLE,
    FaultKind.GEO: Blame.LASTING,
    FaultKind.MODEL_GONE: Blame.LASTING,
    FaultKind.OVERLOAD: Blame.DEPLOYMENT,
    FaultKind.SERVER: Blame.DEPLOYMENT,
    FaultKind.TIMEOUT: Blame.DEPLOYMENT,
    FaultKind.CONNECT: Blame.DEPLOYMENT,
    FaultKind.PROTOCOL: Blame.DEPLOYMENT,
    **dict.fromkeys(CLIENT_FAULTS, Blame.NOBODY),
}

_FORBIDDEN: Final = 403


def blame(failure: Failure) -> Blame:
    """Say what a failure says something about.

    A key that is refused with 403 is often good for other models (a project without this one,
    an organisation that is not verified: OpenAI and Model Studio error pages, 2026-11), so
    that is the deployment's, or one customer's choice of model would take the key from all.
    """
    if failure.kind is FaultKind.AUTH and failure.status == _FORBIDDEN:
        return Blame.LASTING
    return _BLAME[failure.kind]


def reason_of(failure: Failure) -> str:
    """Say in a few words why a credential is refused: class, status, the provider's code word."""
    details = " ".join(str(part) for part in (failure.status, failure.code) if part)
    return f"{failure.kind.value} ({details})" if details else failure.kind.value


def take_out(hub: Hub, credential_id: int, reason: str) -> bool:
    """Put a credential out of use until it is mended, and tell of it; False when it already was, or is gone.

    One transaction: what is out of use has been told of. Every process plans without it from
    its next request on.
    """
    with revision.change(hub.database):
        state = catalog.credential_state(hub.database, credential_id)
        if state is None or not catalog.mark_credential(hub.database, credential_id, catalog.FAILED, reason):
            return False
        facts = {
            "credential": credential_id,
            "provider": state.provider,
            "region": state.region,
            "label": state.label,
            "reason": reason,
        }
        notices.tell_operators(hub, NoticeKind.CREDENTIAL, f"{credential_id}-{clock.now_ms()}", facts)
    log.event("credential_failed", level="error", credential=credential_id, provider=state.provider, reason=reason)
    return True


def read(database: Database) -> Observed:
    """Return how everything stands, from the store alone: for those who serve nothing themselves."""
    stored = circuits.read(database)
    seen = Observed(stored.circuits, stored.cooldowns, set(stored.failed))
    seen.know_speeds(speeds(health_store.since(database, clock.now_ms() - health.RECENT_MS)))
    return seen


def speeds(tallies: Mapping[str, Tally]) -> dict[str, Speed]:
    """Return what tallies say of each deployment's speed."""
    return {name: Speed(one.percentile_ms(0.5), one.throughput()) for name, one in tallies.items()}
