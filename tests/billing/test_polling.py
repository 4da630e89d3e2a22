"""When Stripe is asked again."""

from tokenhub.billing.polling import KEY_LIFE_MS, ended_poll_ms, next_poll_ms

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def test_what_is_older_is_looked_at_more_rarely_within_bounds() -> None:
    waits_ms = [next_poll_ms(0, now_ms) - now_ms for now_ms in (0, 120_000, 4 * HOUR_MS, 72 * HOUR_MS)]
    assert waits_ms == [15_000, 30_000, HOUR_MS, 6 * HOUR_MS]
    assert next_poll_ms(0, 0, soonest_ms=30_000) == 30_000


def test_what_is_of_a_clock_ahead_is_looked_at_soonest() -> None:
    assert next_poll_ms(HOUR_MS, 0) == 15_000


def test_what_has_ended_is_looked_at_for_half_a_year() -> None:
    assert ended_poll_ms(0, 0) == DAY_MS
    assert ended_poll_ms(0, 180 * DAY_MS) == 210 * DAY_MS
    assert ended_poll_ms(0, 180 * DAY_MS + 1) is None


def test_a_request_is_not_repeated_once_stripe_may_have_forgotten_its_key() -> None:
    """Stripe keeps a key for 24 hours; an hour is left for the repeat."""
    assert 0 < KEY_LIFE_MS <= 23 * HOUR_MS
