"""What Stripe posts to ``/stripe/webhook``: believed when it is signed, kept, and looked into later.

Only the event's id, type and object count; amounts are read from the object itself. An event
that is kept is worked on by whoever works the inbox, so one that is answered is never lost.
"""

import re
from typing import Any, Final

from tokenhub.billing import payments, signatures
from tokenhub.billing.payments import EVENT_TYPES, EventFacts, UnexpectedObject
from tokenhub.billing.signatures import InvalidSignature
from tokenhub.errors import InvalidRequest, Unavailable
from tokenhub.operations import secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import events
from tokenhub.wire.json_body import parse_object

_KINDS: Final = ("event", "v2.core.event")
_ID = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)


def known_secrets(hub: Hub) -> list[str]:
    """Return the secrets that a post may be signed with; none: webhooks are not set up."""
    return [found.strip() for name in secrets.WEBHOOK_SECRETS if (found := secrets.get(hub, name)) and found.strip()]


def take(hub: Hub, body: bytes, signature: str, now_ms: int) -> bool:
    """Keep the event in a post; False when it is kept already, or of no interest here.

    Raises Unavailable without a secret to check with (T23), InvalidRequest for anything that
    is not an event signed with one of them, and what the store raises when it cannot keep it.
    """
    known = known_secrets(hub)
    if not known:
        raise Unavailable("Webhooks are not set up here: there is no stripe.webhook_secret.", code="webhook_not_set_up")
    try:
        signatures.check(known, body, signature, now_ms // 1000)
    except InvalidSignature as error:
        raise InvalidRequest(f"The Stripe-Signature header does not hold: {error}.", code="invalid_signature") from None
    data = parse_object(body)
    if not _is_of_interest(data):
        return False
    return events.receive(hub, _facts(data), "webhook")


def _is_of_interest(data: dict[str, Any]) -> bool:
    """Whether an event is of a type that means something here; an endpoint may be subscribed to more."""
    kind = data.get("type")
    if data.get("object") not in _KINDS or not isinstance(kind, str):
        raise _no_event()
    return kind.removeprefix("v1.") in EVENT_TYPES


def _facts(data: dict[str, Any]) -> EventFacts:
    try:
        facts = payments.event_facts(data)
    except UnexpectedObject:
        raise _no_event() from None
    if not all(isinstance(one, str) and _ID.fullmatch(one) for one in (facts.id, facts.object_id)):
        raise _no_event()
    return facts


def _no_event() -> InvalidRequest:
    return InvalidRequest("The body is no event as Stripe sends them.")
