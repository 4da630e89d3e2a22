"""Facts read from Stripe's objects: plain values, None where a field is absent.

A JSON object goes in, the few fields that decide about money come out. Ids of objects that came
expanded are read as ids; what Stripe may add is not looked at; a status is Stripe's own word,
also one that this version does not know. Amounts are minor units, times milliseconds. An object
that lacks what every one has raises ``UnexpectedObject``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

EVENT_TYPES: Final = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "charge.refunded",
    "charge.refund.updated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
    "payment_method.detached",
    "radar.early_fraud_warning.created",
)
"""The events that mean something here: what a webhook endpoint subscribes to, and what is swept (at most 20)."""

_WARNING: Final = "radar.early_fraud_warning"


class UnexpectedObject(ValueError):
    """Something that is not the object of Stripe's that it should be; the message names the field."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A Checkout Session. ``amount_subtotal`` is before discount and exclusive tax, ``amount_total`` is what is paid."""

    id: str
    status: str | None
    payment_status: str
    currency: str | None
    amount_subtotal: int | None
    amount_discount: int
    amount_total: int | None
    client_reference_id: str | None
    metadata: Mapping[str, str]
    payment_intent: str | None
    customer: str | None
    livemode: bool
    created_at_ms: int
    expires_at_ms: int
    url: str | None
    offered: tuple[str, ...]
    """The payment methods that Stripe offers for it."""


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """A PaymentIntent, with its latest charge."""

    id: str
    status: str
    currency: str
    amount: int
    amount_received: int
    livemode: bool
    metadata: Mapping[str, str]
    charge: str | None
    created_at_ms: int
    paid_at_ms: int | None
    """When its charge was made; None without one that succeeded."""
    customer: str | None
    payment_method: str | None
    card: str | None
    """Brand and last four digits of the card that paid; None when no card did."""
    error_code: str | None
    decline_code: str | None
    advice_code: str | None


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """A Refund."""

    id: str
    status: str | None
    amount: int
    currency: str
    payment_intent: str | None
    charge: str | None
    metadata: Mapping[str, str]
    created_at_ms: int
    failure_reason: str | None


@dataclass(frozen=True, slots=True)
class DisputeFacts:
    """A Dispute. ``balance_total`` adds up what it moved on the Stripe balance: negative when money was taken."""

    id: str
    status: str
    amount: int
    currency: str
    payment_intent: str | None
    charge: str | None
    balance_total: int
    livemode: bool
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class EventFacts:
    """An event: what happened to which object. Its copy of the object is never read (any API version may have made it)."""

    id: str
    type: str
    object_id: str
    created_at_ms: int
    livemode: bool | None = field(default=None)
    """None: a thin event that does not say."""


def session_facts(data: Mapping[str, Any]) -> SessionFacts:
    """Read a ``checkout.session``."""
    return SessionFacts(
        id=_text(data, "id"),
        status=data.get("status"),
        payment_status=_text(data, "payment_status"),
        currency=data.get("currency"),
        amount_subtotal=_optional_int(data, "amount_subtotal"),
        amount_discount=_optional_int(data.get("total_details") or {}, "amount_discount") or 0,
        amount_total=_optional_int(data, "amount_total"),
        client_reference_id=data.get("client_reference_id"),
        metadata=_metadata(data),
        payment_intent=_id(data, "payment_intent"),
        customer=_id(data, "customer"),
        livemode=_flag(data, "livemode"),
        created_at_ms=_int(data, "created") * 1000,
        expires_at_ms=_int(data, "expires_at") * 1000,
        url=data.get("url"),
        offered=tuple(data.get("payment_method_types") or ()),
    )


def payment_facts(data: Mapping[str, Any]) -> PaymentFacts:
    """Read a ``payment_intent`` whose ``latest_charge`` is expanded, or that has none."""
    charge = data.get("latest_charge")
    charge = charge if isinstance(charge, Mapping) else {}
    error = data.get("last_payment_error") or {}
    return PaymentFacts(
        id=_text(data, "id"),
        status=_text(data, "status"),
        currency=_text(data, "currency"),
        amount=_int(data, "amount"),
        amount_received=_optional_int(data, "amount_received") or 0,
        livemode=_flag(data, "livemode"),
        metadata=_metadata(data),
        charge=_id(data, "latest_charge"),
        created_at_ms=_int(data, "created") * 1000,
        paid_at_ms=_int(charge, "created") * 1000 if charge.get("status") == "succeeded" else None,
        customer=_id(data, "customer"),
        payment_method=_id(data, "payment_method"),
        card=_card(charge),
        error_code=error.get("code"),
        decline_code=error.get("decline_code"),
        advice_code=error.get("advice_code"),
    )


def refund_facts(data: Mapping[str, Any]) -> RefundFacts:
    """Read a ``refund``."""
    return RefundFacts(
        id=_text(data, "id"),
        status=data.get("status"),
        amount=_int(data, "amount"),
        currency=_text(data, "currency"),
        payment_intent=_id(data, "payment_intent"),
        charge=_id(data, "charge"),
        metadata=_metadata(data),
        created_at_ms=_int(data, "created") * 1000,
        failure_reason=data.get("failure_reason"),
    )


def dispute_facts(data: Mapping[str, Any]) -> DisputeFacts:
    """Read a ``dispute``."""
    return DisputeFacts(
        id=_text(data, "id"),
        status=_text(data, "status"),
        amount=_int(data, "amount"),
        currency=_text(data, "currency"),
        payment_intent=_id(data, "payment_intent"),
        charge=_id(data, "charge"),
        balance_total=sum(_int(moved, "amount") for moved in data.get("balance_transactions") or ()),
        livemode=_flag(data, "livemode"),
        created_at_ms=_int(data, "created") * 1000,
    )


def event_facts(data: Mapping[str, Any]) -> EventFacts:
    """Read an event: a snapshot (``event``) or a thin one (``v2.core.event``).

    The early fraud warning is named by the payment it warns of, for nothing else of it is used.
    """
    if data.get("object") == "v2.core.event":
        return EventFacts(
            id=_text(data, "id"),
            type=_text(data, "type").removeprefix("v1."),
            object_id=_text(_mapping(data, "related_object"), "id"),
            created_at_ms=_moment_ms(data),
            livemode=data.get("livemode") if isinstance(data.get("livemode"), bool) else None,
        )
    if data.get("object") != "event":
        raise UnexpectedObject("object")
    about = _mapping(_mapping(data, "data"), "object")
    payment = _id(about, "payment_intent") or _id(about, "charge")
    warning = _text(data, "type").startswith(_WARNING)
    return EventFacts(
        id=_text(data, "id"),
        type=_text(data, "type"),
        object_id=payment if warning and payment else _text(about, "id"),
        created_at_ms=_int(data, "created") * 1000,
        livemode=_flag(data, "livemode"),
    )


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise UnexpectedObject(name)
    return value


def _int(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if type(value) is not int:
        raise UnexpectedObject(name)
    return value


def _optional_int(data: Mapping[str, Any], name: str) -> int | None:
    return None if data.get(name) is None else _int(data, name)


def _flag(data: Mapping[str, Any], name: str) -> bool:
    value = data.get(name)
    if not isinstance(value, bool):
        raise UnexpectedObject(name)
    return value


def _mapping(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    if not isinstance(value, Mapping):
        raise UnexpectedObject(name)
    return value


def _id(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    return _text(value, "id") if isinstance(value, Mapping) else (value or None)


def _metadata(data: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in (data.get("metadata") or {}).items()}


def _card(charge: Mapping[str, Any]) -> str | None:
    card = (charge.get("payment_method_details") or {}).get("card")
    return f"{card.get('brand') or 'card'} {card.get('last4') or '????'}" if card else None


def _moment_ms(data: Mapping[str, Any]) -> int:
    """Return when a thin event was made, which it says in ISO 8601; 0 when it does not."""
    try:
        return round(datetime.fromisoformat(str(data.get("created")).replace("Z", "+00:00")).timestamp() * 1000)
    except ValueError:
        return 0
