"""How Stripe is asked again: how long a repeat is the same request, and when the next look is due, before an end and after."""

from typing import Final

from tokenhub.billing.periods import DAY_MS

KEY_LIFE_MS: Final = 23 * 3_600_000
"""How long a repeat may use the same idempotency key: Stripe keeps keys for at least 24 hours."""
SOONEST_MS: Final = 15_000
LATEST_MS: Final = 6 * 3_600_000


def next_poll_ms(since_ms: int, now_ms: int, *, soonest_ms: int = SOONEST_MS) -> int:
    """Return when to look again at what has no end yet: after a quarter of its age, so that a lost event costs little."""
    return now_ms + min(max((now_ms - since_ms) // 4, soonest_ms), LATEST_MS)


def ended_poll_ms(created_at_ms: int, now_ms: int) -> int | None:
    """Return when to look again at what has ended, and may still be undone; None: not any more, after half a year."""
    age_ms = now_ms - created_at_ms
    return None if age_ms > 180 * DAY_MS else now_ms + min(max(age_ms, DAY_MS), 30 * DAY_MS)
