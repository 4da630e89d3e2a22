"""One pass over all that is due: what the gateway's payments thread does every few seconds.

Safe to run in several processes at once: whatever is looked at is claimed first, and whatever
is decided is decided on locked rows. One thing that fails waits and holds up nothing else; when
Stripe itself is away or asks for fewer requests, the pass ends and the next begins where it stopped.
"""

from collections.abc import Callable
from typing import Final

from tokenhub import clock
from tokenhub.billing.topups import next_poll_ms
from tokenhub.errors import HubError
from tokenhub.observability import log
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import comparison, connection, disputes, events, recharges, refunds, rounds, topups
from tokenhub.operations.payments.stripe_api import StripeApi, StripeAuth, StripeLimited, StripeUnknown
from tokenhub.store import topups as store
from tokenhub.store.database import CommitUnknown, StoreError

BATCH: Final = 100
_CLAIM_MS: Final = 60_000
_PAUSE_MS: Final = 30_000
"""How long a top-up waits at least that could not be looked at."""
_CARD_PAUSE_MS: Final = 600_000

Job = Callable[[Hub, StripeApi, int], object]


def started(hub: Hub) -> None:
    """To be called once when a gateway starts: everything is compared with Stripe soon."""
    if connection.is_configured(hub):
        comparison.soon(hub)


def tick(hub: Hub, now_ms: int) -> None:
    """Do all that is due at a moment, once. Does nothing without Stripe. Raises what the store raises."""
    if not connection.is_configured(hub):
        return
    api = connection.connect(hub)
    for name, job in _JOBS.items():
        try:
            job(hub, api, now_ms)
        except (StoreError, CommitUnknown):
            raise
        except (StripeLimited, StripeAuth, StripeUnknown) as error:
            log.event("payments_stopped", level="warning", job=name, reason=error.message)
            return
        except HubError as error:
            log.event("payments_failed", level="warning", job=name, reason=str(error))
        except Exception as error:
            log.failure("payments_failed", error, job=name)


def _poll(hub: Hub, api: StripeApi, now_ms: int) -> None:
    """Look at the top-ups that are due."""
    claimed = (topup.id for topup in store.due(hub.database, now_ms, BATCH) if _claim(hub, topup))
    rounds.each("topup", claimed, lambda one: topups.reconcile(hub, api, one), lambda one: _postpone(hub, one))


def _claim(hub: Hub, topup: store.Topup) -> bool:
    """Take a look that is due until the next one; False when another process has taken it."""
    return store.claim(hub.database, topup, _next_ms(topup) or clock.now_ms() + _CLAIM_MS)


def _next_ms(topup: store.Topup) -> int | None:
    return next_poll_ms(topup.state, topup.created_at_ms, topup.session_expires_at_ms, clock.now_ms())


def _postpone(hub: Hub, topup_id: str) -> None:
    """Look at a top-up again after a pause, unless it needs no look any more."""
    now_ms = clock.now_ms()
    with hub.database.write():
        kept = store.get(hub.database, topup_id)
        if kept.next_poll_at_ms is None:
            return
        next_ms = now_ms + _CARD_PAUSE_MS if kept.lot_id is not None else _next_ms(kept)
        again_ms = None if next_ms is None else max(next_ms, now_ms + _PAUSE_MS)
        store.update(hub.database, topup_id, now_ms, {"next_poll_at": again_ms})


def _recharge(hub: Hub, api: StripeApi, now_ms: int) -> None:
    """Begin recharges, once everything has been compared with Stripe.

    A database that was restored from a backup may lack a recharge that was paid since. Its
    balance is as low as before that, and the card would be charged again.
    """
    if comparison.is_current(hub, now_ms):
        recharges.begin(hub, api, now_ms)


_JOBS: Final[dict[str, Job]] = {
    "inbox": events.work_inbox,
    "topups": _poll,
    "refunds": refunds.work,
    "disputes": disputes.work,
    "recharges": recharges.work,
    "sweep": events.sweep,
    "swept": lambda hub, api, _: events.work_inbox(hub, api),
    "objects": comparison.sweep,
    "new recharges": _recharge,
}
"""In their order: what was told comes before what has to be found out, and nobody is charged before all is known."""
