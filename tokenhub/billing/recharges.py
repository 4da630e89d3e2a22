"""When an account buys credit by itself, and what stops it.

One attempt is under way at a time, the next comes no sooner than an hour after the last,
however that one ended, and a month's attempts stay under a cap. A card that says "never
again" suspends at once, three other refusals in a row do too; then a person has to act.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from tokenhub.billing.periods import month_start_ms

COOLDOWN_MS: Final = 3_600_000
"""From one attempt to the next, whatever came of it."""
MOST_DECLINES: Final = 3
"""So many refusals in a row suspend."""


class RechargeState(StrEnum):
    """Whether an account may buy credit by itself."""

    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"


class Wait(StrEnum):
    """Why no recharge is due."""

    NOT_ON = "not_on"
    NO_CARD = "no_card"
    ENOUGH = "enough"
    UNDER_WAY = "under_way"
    COOLDOWN = "cooldown"
    CAP = "cap"


DISPUTED: Final = "a payment is disputed"
SUSPECTED: Final = "a payment is suspected of fraud"
LASTING: Final = (DISPUTED, SUSPECTED)
"""Why a suspension is not about the card: a new top-up does not clear it."""
CARD_GONE: Final = "the card was removed"
REFUNDED: Final = "a payment was refunded"
"""The card would be charged for what has just been sent back."""

FINAL_DECLINES: Final = frozenset(
    {
        "authentication_required",
        "fraudulent",
        "lost_card",
        "merchant_blacklist",
        "pickup_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "stolen_card",
        "stop_payment_order",
    }
)
"""Refusals after which the same card must not be tried again (Stripe's decline codes, 2026-10-28)."""


@dataclass(frozen=True, slots=True)
class Recharge:
    """An account's recharge settings and brakes. Minor units are US cents."""

    state: RechargeState
    amount_minor: int
    below_nano: int
    monthly_cap_minor: int
    reason: str = ""
    declines: int = 0
    month_start_ms: int = 0
    month_total_minor: int = 0
    attempted_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt that may be made now: the month it counts in, and that month's total with it."""

    amount_minor: int
    month_start_ms: int
    month_total_minor: int


def claim(recharge: Recharge, balance_nano: int, *, has_card: bool, under_way: bool, now_ms: int) -> Claim | Wait:
    """Return the attempt that is due, or why there is none."""
    month = month_start_ms(now_ms)
    spent = recharge.month_total_minor if recharge.month_start_ms == month else 0
    unwanted = why_unwanted(recharge, balance_nano, has_card=has_card)
    if unwanted is not None:
        return unwanted
    if under_way:
        return Wait.UNDER_WAY
    if recharge.attempted_at_ms is not None and now_ms < recharge.attempted_at_ms + COOLDOWN_MS:
        return Wait.COOLDOWN
    if spent + recharge.amount_minor > recharge.monthly_cap_minor:
        return Wait.CAP
    return Claim(recharge.amount_minor, month, spent + recharge.amount_minor)


def why_unwanted(recharge: Recharge, balance_nano: int, *, has_card: bool) -> Wait | None:
    """Return why no recharge is wanted, whether or not one has been begun; None when one is."""
    if recharge.state is not RechargeState.ON:
        return Wait.NOT_ON
    if not has_card:
        return Wait.NO_CARD
    return Wait.ENOUGH if balance_nano >= recharge.below_nano else None


def with_attempt(recharge: Recharge, amount_minor: int, at_ms: int, now_ms: int) -> Recharge:
    """Return the settings with an attempt that was made at a moment and is known only now."""
    month = month_start_ms(now_ms)
    total = recharge.month_total_minor if recharge.month_start_ms == month else 0
    if month_start_ms(at_ms) == month:
        total += amount_minor
    attempted_at_ms = max(recharge.attempted_at_ms or 0, at_ms)
    return replace(recharge, month_start_ms=month, month_total_minor=total, attempted_at_ms=attempted_at_ms)


@dataclass(frozen=True, slots=True)
class Decline:
    """Why an attempt got no money, in Stripe's words."""

    code: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    suspends: str = ""
    """Why no further attempt makes sense, where that does not follow from the words."""

    @property
    def text(self) -> str:
        """All that was said, each word once."""
        return " ".join(dict.fromkeys(filter(None, (self.code, self.decline_code, self.advice_code))))


def why_suspended(decline: Decline, in_a_row: int) -> str:
    """Return why a decline, the last of so many in a row, suspends; "" when it does not."""
    if decline.suspends:
        return decline.suspends
    for word in (decline.decline_code, decline.code):
        if word in FINAL_DECLINES:
            return f"the card was refused: {word}"
    most_telling = decline.decline_code or decline.code
    if decline.advice_code == "do_not_try_again":
        return f"the card was refused: {most_telling or decline.advice_code}"
    if in_a_row >= MOST_DECLINES:
        return f"the card was refused {in_a_row} times: {most_telling or 'declined'}"
    return ""
