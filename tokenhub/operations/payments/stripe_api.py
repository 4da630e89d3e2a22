"""Stripe's API as far as it is used here; the only importer of the package ``stripe``.

    StripeError
    ├─ StripeRefused             a definite no: nothing happened, or a card was declined
    │  └─ StripeNotFound         there is no such object
    ├─ StripeUnknown             what became of it is not known: repeat it with the same key
    ├─ StripeLimited             429: nothing happened, ask less often
    └─ StripeAuth                401, 403: the secret key is wrong, or may not do this

A read that raises StripeUnknown has simply failed. The package takes 90 ms to load, so a
``StripeApi`` is made where one is needed. It may be used by several threads.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tokenhub.billing.payments import (
    DisputeFacts,
    EventFacts,
    PaymentFacts,
    RefundFacts,
    SessionFacts,
    UnexpectedObject,
    dispute_facts,
    event_facts,
    payment_facts,
    refund_facts,
    session_facts,
)
from tokenhub.errors import HubError

if TYPE_CHECKING:
    import stripe

_RETRIES: Final = 2
_CONNECT_S: Final = 3.0
_TOTAL_S: Final = 10.0
_PAGE: Final = 100
_EXPAND_CHARGE: Final = ["latest_charge"]
_WORDS_LENGTH: Final = 300

T = TypeVar("T")


class StripeError(HubError):
    """Something went wrong between here and Stripe; nothing was decided about money."""

    status, type = 502, "upstream_error"


class StripeRefused(StripeError):
    """Stripe said no. ``refusal`` is its code, ``decline_code`` and ``advice_code`` those of a card's issuer."""

    def __init__(
        self,
        code: str | None,
        message: str,
        param: str | None = None,
        status: int = 400,
        decline_code: str | None = None,
        advice_code: str | None = None,
        payment_intent: str | None = None,
    ) -> None:
        words = "".join(letter for letter in message if letter.isprintable())[:_WORDS_LENGTH]
        super().__init__(f"Stripe refused this: {words or code or status}", param=param)
        self.refusal = code or f"http_{status}"
        self.http_status = status
        self.decline_code = decline_code
        self.advice_code = advice_code
        self.payment_intent = payment_intent
        """The payment that a declined card leaves behind."""

    @property
    def reason(self) -> str:
        """What is kept of it: codes and names, none of Stripe's sentences."""
        return " ".join(filter(None, (self.refusal, self.decline_code, self.advice_code, self.param)))


class StripeNotFound(StripeRefused):
    """There is no such object in this Stripe account and mode."""


class StripeUnknown(StripeError):
    """No answer, or none that can be read."""


class StripeLimited(StripeError):
    """Too many requests."""


class StripeAuth(StripeError):
    """The secret key was not accepted."""


class StripeApi:
    """Calls to one Stripe account with one secret key.

    A POST takes an idempotency key: repeated with the same parameters it has one effect.
    Lists go back to ``since_ms`` by the time of creation, newest first, page after page.
    """

    def __init__(self, secret_key: str, api_base: str = "") -> None:
        import stripe

        stripe.enable_telemetry = False
        self._stripe = stripe
        addresses: Any = {"api": api_base.rstrip("/")} if api_base else None
        self._client = stripe.StripeClient(
            secret_key, base_addresses=addresses, max_network_retries=_RETRIES, http_client=_http_client()
        )
        self._v1 = self._client.v1

    def create_session(self, params: Mapping[str, Any], key: str) -> SessionFacts:
        """Open a Checkout Session."""
        return self._one(session_facts, lambda: self._v1.checkout.sessions.create(_any(params), _key(key)))

    def session(self, session_id: str) -> SessionFacts:
        """Fetch a Checkout Session."""
        return self._one(session_facts, lambda: self._v1.checkout.sessions.retrieve(_named(session_id)))

    def expire_session(self, session_id: str) -> SessionFacts:
        """Close an open Checkout Session, so that it cannot be paid any more."""
        return self._one(session_facts, lambda: self._v1.checkout.sessions.expire(_named(session_id)))

    def sessions(self, since_ms: int) -> Iterator[SessionFacts]:
        """List Checkout Sessions."""
        return self._many(session_facts, lambda: self._v1.checkout.sessions.list(_since(since_ms)))

    def session_of_payment(self, payment_intent: str) -> SessionFacts | None:
        """Return the Checkout Session that a payment belongs to; None when it came another way."""
        params: Any = {"payment_intent": _named(payment_intent), "limit": 1}
        return next(self._many(session_facts, lambda: self._v1.checkout.sessions.list(params)), None)

    def create_payment(self, params: Mapping[str, Any], key: str) -> PaymentFacts:
        """Make a PaymentIntent; a card that is declined raises StripeRefused with its codes."""
        asked = {**params, "expand": _EXPAND_CHARGE}
        return self._one(payment_facts, lambda: self._v1.payment_intents.create(_any(asked), _key(key)))

    def payment(self, payment_intent: str) -> PaymentFacts:
        """Fetch a PaymentIntent and its latest charge."""
        params: Any = {"expand": _EXPAND_CHARGE}
        return self._one(payment_facts, lambda: self._v1.payment_intents.retrieve(_named(payment_intent), params))

    def payments(self, since_ms: int) -> Iterator[PaymentFacts]:
        """List PaymentIntents, with their latest charges."""
        params: Any = {**_since(since_ms), "expand": [f"data.{name}" for name in _EXPAND_CHARGE]}
        return self._many(payment_facts, lambda: self._v1.payment_intents.list(params))

    def create_customer(self, params: Mapping[str, Any], key: str) -> str:
        """Make a customer; return its id."""
        return self._one(_id_of, lambda: self._v1.customers.create(_any(params), _key(key)))

    def create_refund(self, params: Mapping[str, Any], key: str) -> RefundFacts:
        """Send money back."""
        return self._one(refund_facts, lambda: self._v1.refunds.create(_any(params), _key(key)))

    def refund(self, refund_id: str) -> RefundFacts:
        """Fetch a refund."""
        return self._one(refund_facts, lambda: self._v1.refunds.retrieve(_named(refund_id)))

    def refunds_of(self, payment_intent: str) -> list[RefundFacts]:
        """List all refunds of a payment."""
        params: Any = {"payment_intent": _named(payment_intent), "limit": _PAGE}
        return list(self._many(refund_facts, lambda: self._v1.refunds.list(params)))

    def refunds(self, since_ms: int) -> Iterator[RefundFacts]:
        """List refunds."""
        return self._many(refund_facts, lambda: self._v1.refunds.list(_since(since_ms)))

    def dispute(self, dispute_id: str) -> DisputeFacts:
        """Fetch a dispute."""
        return self._one(dispute_facts, lambda: self._v1.disputes.retrieve(_named(dispute_id)))

    def disputes_of(self, payment_intent: str) -> list[DisputeFacts]:
        """List all disputes about a payment."""
        params: Any = {"payment_intent": _named(payment_intent), "limit": _PAGE}
        return list(self._many(dispute_facts, lambda: self._v1.disputes.list(params)))

    def disputes(self, since_ms: int) -> Iterator[DisputeFacts]:
        """List disputes."""
        return self._many(dispute_facts, lambda: self._v1.disputes.list(_since(since_ms)))

    def payment_of_charge(self, charge_id: str) -> str | None:
        """Return the PaymentIntent of a charge; None when it has none."""
        return self._one(_payment_of, lambda: self._v1.charges.retrieve(_named(charge_id)))

    def events(self, types: Sequence[str], since_ms: int) -> Iterator[EventFacts]:
        """List events of these types (at most 20); Stripe keeps them for 30 days."""
        params: Any = {**_since(since_ms), "types": list(types)}
        return self._many(event_facts, lambda: self._v1.events.list(params))

    def livemode(self) -> bool:
        """Tell whether the key moves real money; also proves that Stripe accepts it."""
        return self._one(lambda data: data["livemode"] is True, lambda: self._v1.balance.retrieve())

    def _one(self, read: Callable[[Mapping[str, Any]], T], ask: Callable[[], Any]) -> T:
        return _read(read, self._asked(ask))

    def _many(self, read: Callable[[Mapping[str, Any]], T], ask: Callable[[], Any]) -> Iterator[T]:
        page = self._asked(ask)
        while True:
            found = [_read(read, one) for one in _data_of(page)]
            yield from found
            if not found or page.has_more is not True:
                return
            page = self._asked(page.next_page)

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except self._stripe.StripeError as error:
            raise self._translated(error) from error
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise StripeUnknown("Stripe's answer could not be read. Try again.") from error

    def _translated(self, error: "stripe.StripeError") -> StripeError:
        kinds = self._stripe
        match error:
            case kinds.RateLimitError():
                return StripeLimited("Stripe takes no more requests for now. Try again in a minute.")
            case kinds.AuthenticationError() | kinds.PermissionError():
                return StripeAuth(
                    "Stripe does not accept the secret key, or the key may not do this. "
                    "Set another with: tokenhub config set stripe.secret_key"
                )
            case kinds.InvalidRequestError() | kinds.CardError():
                return _refusal(error)
        # Another request with the key may have had an effect, so an IdempotencyError decides nothing.
        return StripeUnknown("Stripe gave no clear answer. It will be asked again.")


def _http_client() -> "stripe.RequestsClient":
    """Return the transport: bounded waits, no redirects, no proxies or passwords from the environment.

    A body that was cut short is repeated like a connection that broke: the key makes that safe.
    """
    import requests
    import stripe

    class Client(stripe.RequestsClient):
        def _handle_request_error(self, e: Exception) -> Any:
            if isinstance(e, requests.exceptions.ChunkedEncodingError):
                raise stripe.APIConnectionError("the answer was cut short", should_retry=True) from e  # type: ignore[no-untyped-call]
            super()._handle_request_error(e)

    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    return Client(timeout=(_CONNECT_S, _TOTAL_S), session=session)


def _refusal(error: "stripe.StripeError") -> StripeRefused:
    said: Any = error.json_body.get("error") if isinstance(error.json_body, dict) else None
    said = said if isinstance(said, dict) else {}
    status = error.http_status or 400
    kind = StripeNotFound if status == 404 or said.get("code") == "resource_missing" else StripeRefused
    payment = said.get("payment_intent")
    return kind(
        said.get("code"),
        str(said.get("message") or ""),
        said.get("param"),
        status,
        said.get("decline_code"),
        said.get("advice_code"),
        payment.get("id") if isinstance(payment, dict) else None,
    )


def _read(read: Callable[[Mapping[str, Any]], T], found: Any) -> T:
    try:
        # to_dict gives Decimals for numbers of a few fields; none of them is read here.
        return read(found.to_dict())
    except (UnexpectedObject, AttributeError, KeyError, TypeError, ValueError) as error:
        raise StripeUnknown(f"Stripe's answer could not be read ({error}). Try again.") from error


def _data_of(page: Any) -> list[Any]:
    try:
        return list(page.data)
    except (AttributeError, TypeError) as error:
        raise StripeUnknown("Stripe's answer could not be read (it is no list). Try again.") from error


def _named(object_id: str) -> str:
    """Refuse an empty id, with which a fetch would become a list."""
    if not object_id:
        raise StripeNotFound("resource_missing", "an object without an id was asked for", "id", 404)
    return object_id


def _since(since_ms: int) -> Any:
    return {"created": {"gte": max(0, since_ms // 1000)}, "limit": _PAGE}


def _key(key: str) -> Any:
    return {"idempotency_key": key}


def _any(params: Mapping[str, Any]) -> Any:
    """Return parameters as Stripe's types want them: a plain dictionary of JSON values."""
    return json.loads(json.dumps(params))


def _id_of(data: Mapping[str, Any]) -> str:
    return _named(str(data.get("id") or ""))


def _payment_of(data: Mapping[str, Any]) -> str | None:
    found = data.get("payment_intent")
    return str(found["id"] if isinstance(found, Mapping) else found) if found else None
