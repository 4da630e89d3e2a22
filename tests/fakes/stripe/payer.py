"""What people do at Stripe: paying, and what becomes of it. Tests call these."""

from typing import Any

from tests.fakes.stripe import objects
from tests.fakes.stripe.books import Books, Refusal
from tests.fakes.stripe.objects import Object


class Payer(Books):
    """Sessions and payments. Every argument takes an id or the object itself; what is returned is a copy."""

    def __init__(self, *, livemode: bool = False) -> None:
        super().__init__(livemode=livemode)
        self.methods_offered = ["card", "alipay", "wechat_pay"]
        """What the account may offer; the rest of what is allowed is left out without a word."""
        self._declines: list[tuple[str, str | None, str | None]] = []

    def pay(
        self,
        session: str | Object,
        *,
        amount: int | None = None,
        currency: str | None = None,
        method: str = "card",
        tax: int = 0,
        at_ms: int | None = None,
        late: bool = False,
    ) -> Object:
        """The person pays: the session is complete and paid; return its PaymentIntent.

        ``amount`` and ``currency`` replace what was asked (a session that was tampered with),
        ``tax`` comes on top, ``late`` pays a session that is already expired here.
        """
        with self.lock, self._at(at_ms):
            found = self._payable(session, amount, currency, tax, method, late=late)
            intent = self._intent_of(found, method, status="processing")
            self._settle(intent, method)
            found |= {"status": "complete", "payment_status": "paid", "payment_intent": intent["id"], "url": None}
            self.emit("checkout.session.completed", found)
            self.judge("checkout.session", found)
            return dict(intent)

    def pay_pending(self, session: str | Object, *, method: str = "alipay", at_ms: int | None = None) -> Object:
        """The person has done their part, the money is under way: complete and unpaid."""
        with self.lock, self._at(at_ms):
            found = self._payable(session, None, None, 0, method, late=False)
            intent = self._intent_of(found, method, status="processing")
            found |= {"status": "complete", "payment_status": "unpaid", "payment_intent": intent["id"], "url": None}
            self.emit("payment_intent.processing", intent)
            self.emit("checkout.session.completed", found)
            return dict(intent)

    def succeed_pending(self, session: str | Object, *, at_ms: int | None = None) -> Object:
        """The money under way has come."""
        with self.lock, self._at(at_ms):
            found = self.kept(session, "checkout.session")
            intent = self.objects[found["payment_intent"]]
            self._settle(intent, intent["payment_method_types"][0])
            found["payment_status"] = "paid"
            self.emit("checkout.session.async_payment_succeeded", found)
            return dict(intent)

    def fail_pending(self, session: str | Object) -> Object:
        """The money under way will not come."""
        with self.lock:
            found = self.kept(session, "checkout.session")
            intent = self.objects[found["payment_intent"]]
            error = {"type": "card_error", "code": "payment_intent_payment_attempt_failed", "message": "It failed."}
            intent |= {"status": "requires_payment_method", "last_payment_error": error, "payment_method": None}
            self.emit("payment_intent.payment_failed", intent)
            self.emit("checkout.session.async_payment_failed", found)
            return dict(intent)

    def pay_nothing(self, session: str | Object) -> Object:
        """A coupon of 100 %: complete without a payment."""
        with self.lock:
            found = self.kept(session, "checkout.session")
            found["total_details"]["amount_discount"] = found["amount_subtotal"]
            found |= {"status": "complete", "payment_status": "no_payment_required", "amount_total": 0, "url": None}
            self.emit("checkout.session.completed", found)
            return dict(found)

    def expire(self, session: str | Object) -> Object:
        """The session's time is over."""
        with self.lock:
            found = self.kept(session, "checkout.session")
            self.end_session(found)
            return dict(found)

    def cancel_payment(self, payment: str | Object) -> Object:
        """A PaymentIntent is canceled."""
        with self.lock:
            intent = self.kept(payment, "payment_intent")
            intent |= {"status": "canceled", "canceled_at": self.now, "cancellation_reason": "abandoned"}
            self.emit("payment_intent.canceled", intent)
            return dict(intent)

    def decline_next(
        self, code: str = "card_declined", decline_code: str | None = "generic_decline", advice_code: str | None = None
    ) -> None:
        """The next charge of a saved card is declined."""
        with self.lock:
            self._declines.append((code, decline_code, advice_code))

    def sessions(self, status: str = "open") -> list[Object]:
        """Checkout Sessions in a status, newest first: what another process has opened."""
        with self.lock:
            self.pass_time()
            return [dict(one) for one in self.of("checkout.session", status=status)]

    def foreign_session(
        self, *, metadata: Object | None = None, reference: str | None = None, amount: int = 2000
    ) -> Object:
        """A session that another program made on the same Stripe account; pay it with ``pay``."""
        with self.lock:
            line = {
                "quantity": 1,
                "price_data": {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Mug"}},
            }
            params: Object = {"mode": "payment", "line_items": [line], "success_url": "https://mugs.example/thanks"}
            params |= {"metadata": metadata or {}, "payment_intent_data": {"metadata": metadata or {}}}
            if reference is not None:
                params["client_reference_id"] = reference
            return dict(self.make_session(params))

    def detach_card(self, method: str | Object) -> Object:
        """A saved card is removed from its customer."""
        with self.lock:
            found = self.kept(method, "payment_method")
            found["customer"] = None
            self.emit("payment_method.detached", found)
            return dict(found)

    def save_card(self, customer: str | Object) -> Object:
        """A card that a customer has; for tests of charging it."""
        with self.lock:
            owner = self.kept(customer, "customer")
            return dict(self._new_method("card", owner["id"]))

    # ---- shared with the API -----------------------------------------------------------------

    def make_session(self, params: Object) -> Object:
        """Keep a new session (its parameters were checked)."""
        identifier = self.new_id("checkout.session")
        total = sum(line["price_data"]["unit_amount"] * line.get("quantity", 1) for line in params["line_items"])
        allowed = params.get("allowed_payment_method_types", self.methods_offered)
        offered = [method for method in allowed if method in self.methods_offered]
        made = objects.session(identifier, params, livemode=self.livemode, now=self.now, offered=offered, total=total)
        self._params[identifier] = params
        self._lines[identifier] = [
            objects.item(self.new_id("item"), line, self.now, self.livemode) for line in params["line_items"]
        ]
        return self.keep(made)

    def charge_saved_card(self, params: Object) -> Object:
        """Create and confirm a PaymentIntent for a saved card, off session."""
        method = self.find(params["payment_method"], "payment_method")
        if method["customer"] is None or method["customer"] != params.get("customer"):
            message = f"The payment method {method['id']} does not belong to the customer {params.get('customer')}."
            raise Refusal(400, message, param="payment_method")
        intent = self.make_payment(params)
        intent["payment_method"] = method["id"]
        if self._declines:
            code, decline_code, advice_code = self._declines.pop(0)
            error: Object = {"type": "card_error", "code": code, "message": "Your card was declined."}
            error |= {"decline_code": decline_code} if decline_code else {}
            error |= {"advice_code": advice_code} if advice_code else {}
            intent["last_payment_error"] = error | {"payment_method": dict(method)}
            intent["payment_method"] = None
            self.emit("payment_intent.payment_failed", intent)
            fields: dict[str, Any] = {**error, "payment_intent": dict(intent), "payment_method": dict(method)}
            fields.pop("type"), fields.pop("message")
            raise Refusal(402, "Your card was declined.", "card_error", **fields)
        self._settle(intent, "card")
        return intent

    def make_payment(self, params: Object) -> Object:
        """Keep a PaymentIntent that is not confirmed."""
        fields = {key: params[key] for key in ("customer", "metadata", "description") if key in params}
        types = params.get("allowed_payment_method_types", ["card"])
        intent = objects.payment_intent(
            self.new_id("payment_intent"),
            amount=params["amount"],
            currency=params["currency"],
            livemode=self.livemode,
            now=self.now,
            payment_method_types=types,
            allowed_payment_method_types=params.get("allowed_payment_method_types"),
            **fields,
        )
        self.keep(intent)
        self.emit("payment_intent.created", intent)
        return intent

    # ---- parts -------------------------------------------------------------------------------

    def _at(self, at_ms: int | None) -> "_Moment":
        return _Moment(self, at_ms)

    def _payable(
        self, session: str | Object, amount: int | None, currency: str | None, tax: int, method: str, *, late: bool
    ) -> Object:
        found = self.kept(session, "checkout.session")
        assert found["status"] == "open" or (late and found["status"] == "expired"), f"it is {found['status']}"
        assert method in found["payment_method_types"], f"{method} is not offered"
        if amount is not None:
            found |= {"amount_subtotal": amount, "amount_total": amount}
        if currency is not None:
            found["currency"] = currency
        if tax:
            found["amount_total"] += tax
            found["total_details"]["amount_tax"] = tax
        return found

    def _intent_of(self, session: Object, method: str, *, status: str) -> Object:
        params = self._params[session["id"]]
        saves = params.get("payment_method_options", {}).get("card", {}).get("setup_future_usage") == "off_session"
        if saves and method == "card" and session["customer"] is None:
            guest = objects.customer(self.new_id("customer"), {}, livemode=self.livemode, now=self.now)
            session["customer"] = self.keep(guest)["id"]
        keeps = saves and method == "card"
        used = self._new_method(method, session["customer"] if keeps else None)
        intent = objects.payment_intent(
            self.new_id("payment_intent"),
            amount=session["amount_total"],
            currency=session["currency"],
            livemode=self.livemode,
            now=self.now,
            status=status,
            customer=session["customer"],
            payment_method=used["id"],
            payment_method_types=[method],
            metadata=dict(params.get("payment_intent_data", {}).get("metadata", {})),
            setup_future_usage="off_session" if keeps else None,
        )
        self.keep(intent)
        self.emit("payment_intent.created", intent)
        return intent

    def _new_method(self, method: str, customer: str | None) -> Object:
        made = objects.payment_method(
            self.new_id("payment_method"), method=method, customer=customer, livemode=self.livemode, now=self.now
        )
        self.keep(made)
        if customer is not None:
            self.emit("payment_method.attached", made)
        return made

    def _settle(self, intent: Object, method: str) -> None:
        paid = objects.charge(self.new_id("charge"), intent, method=method, now=self.now)
        self.keep(paid)
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": paid["id"],
            "last_payment_error": None,
        }
        self.judge("payment_intent", intent)
        self.emit("charge.succeeded", paid)
        self.emit("payment_intent.succeeded", intent)


class _Moment:
    """While it lasts, the clock stands at a given moment."""

    def __init__(self, books: Books, at_ms: int | None) -> None:
        self._books = books
        self._at_ms = at_ms

    def __enter__(self) -> None:
        self._before = self._books._clock_ms
        if self._at_ms is not None:
            self._books._clock_ms = self._at_ms

    def __exit__(self, *_: object) -> None:
        self._books._clock_ms = self._before
