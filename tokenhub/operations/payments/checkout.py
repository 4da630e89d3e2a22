"""What a person may buy, and the Checkout Session that is asked for it: all that is decided before Stripe is asked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from tokenhub.billing import credits
from tokenhub.billing.topups import (
    CHECKOUT,
    WANTED,
    Topup,
    TopupState,
    intended,
    next_poll_ms,
    payment_metadata,
)
from tokenhub.errors import InvalidRequest
from tokenhub.ids import new_id
from tokenhub.money import NANO_PER_USD, exact
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import connection, links
from tokenhub.store.accounts import AccountState

METHODS: Final = ("card", "alipay", "wechat_pay")
OPEN_MS: Final = 23 * 3_600_000
"""How long a link can be paid; Stripe takes up to 24 hours, counted on its own clock."""


@dataclass(frozen=True, slots=True)
class Order:
    """A purchase that may be made. ``wanted``: the methods that were named; empty: whatever is offered."""

    amount_minor: int
    currency: str
    rate_micro: int
    credit_nano: int
    wanted: tuple[str, ...]
    save_card: bool

    @property
    def methods(self) -> tuple[str, ...]:
        """What may be offered. A card can only be kept of those who pay by card."""
        return self.wanted or (("card",) if self.save_card else METHODS)


def check(hub: Hub, amount_minor: int, currency: str, methods: Sequence[str] = (), *, save_card: bool = False) -> Order:
    """Return what would be bought, at today's rate; asks nobody. Raises InvalidRequest for what may not be."""
    if currency not in credits.DECIMALS:
        raise InvalidRequest(
            f"{str(currency)[:20]!r} is no currency to pay in here: usd or cny.", param="currency", code="currency"
        )
    if type(amount_minor) is not int or not 0 < amount_minor <= credits.LARGEST_MINOR:
        largest = credits.major(credits.LARGEST_MINOR, currency)
        raise InvalidRequest(f"An amount must be above 0 and at most {largest} {currency.upper()}.", param="amount")
    if amount_minor < credits.SMALLEST_MINOR[currency]:
        smallest = credits.major(credits.SMALLEST_MINOR[currency], currency)
        raise InvalidRequest(f"A top-up is no less than {smallest} {currency.upper()}.", param="amount")
    rate = credits.rate_micro(currency, hub.settings.stripe_cny_rate)
    bought = credits.bought_nano(amount_minor, rate)
    for limit, fits, words in (
        (_nano(hub.settings.topup_min_usd), int.__ge__, "least"),
        (_nano(hub.settings.topup_max_usd), int.__le__, "most"),
    ):
        if not fits(bought, limit):
            raise InvalidRequest(
                f"That buys {exact(bought)} USD of credit; a top-up buys at {words} {exact(limit)}.", param="amount"
            )
    return Order(amount_minor, currency, rate, bought, _wanted(methods, save_card), save_card)


def _nano(usd: float) -> int:
    return int(Decimal(str(usd)) * NANO_PER_USD)


def _wanted(methods: Sequence[str], save_card: bool) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(methods))
    unknown = [method for method in wanted if method not in METHODS]
    if unknown:
        raise InvalidRequest(f"{unknown[0][:20]!r} is no way to pay here: {', '.join(METHODS)}.", param="method")
    if save_card and wanted and "card" not in wanted:
        raise InvalidRequest("Only a card can be kept for later: name it with --method card.", param="method")
    return wanted


def intent(hub: Hub, owner: AccountState, order: Order, customer: str | None, now_ms: int) -> Topup:
    """Return a new top-up with all that will be posted for it, to a Stripe that is set up."""
    livemode = connection.livemode(hub)
    assert livemode is not None
    topup_id = new_id("topup", now_ms)
    expires_at_ms = now_ms + OPEN_MS
    metadata = payment_metadata(
        hub.instance,
        topup_id,
        owner.account.id,
        owner.created_at_ms,
        credit_nano=order.credit_nano,
        rate_micro=order.rate_micro,
    )
    if order.wanted:
        metadata[WANTED] = ",".join(order.wanted)
    params = _params(hub, topup_id, order, customer, metadata, expires_at_ms)
    return intended(
        topup_id,
        owner.account.id,
        CHECKOUT,
        currency=order.currency,
        amount_minor=order.amount_minor,
        rate_micro=order.rate_micro,
        credit_nano=order.credit_nano,
        livemode=livemode,
        params=json.dumps(params, ensure_ascii=True),
        customer=customer,
        now_ms=now_ms,
        next_poll_at_ms=next_poll_ms(TopupState.NEW, now_ms, None, now_ms) or now_ms,
        session_expires_at_ms=expires_at_ms,
    )


def _params(
    hub: Hub, topup_id: str, order: Order, customer: str | None, metadata: dict[str, str], expires_at_ms: int
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if "wechat_pay" in order.methods:
        options["wechat_pay"] = {"client": "web"}
    if order.save_card:
        options["card"] = {"setup_future_usage": "off_session"}
    params: dict[str, Any] = {
        "mode": "payment",
        "client_reference_id": topup_id,
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": order.currency,
                    "unit_amount": order.amount_minor,
                    "product_data": {"name": f"TokenHub credit, {exact(order.credit_nano)} USD"},
                },
            }
        ],
        "allowed_payment_method_types": list(order.methods),
        "payment_method_options": options,
        "adaptive_pricing": {"enabled": False},
        "metadata": metadata,
        "payment_intent_data": {"metadata": metadata},
        "expires_at": expires_at_ms // 1000,
        "success_url": links.return_url(hub.settings, "done"),
        "cancel_url": links.return_url(hub.settings, "cancelled"),
    }
    if customer is not None:
        params["customer"] = customer
    return {name: value for name, value in params.items() if value}
