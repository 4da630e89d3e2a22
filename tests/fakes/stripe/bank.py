"""What banks and the operator do at Stripe: refunds, disputes, warnings. Tests call these."""

from tests.fakes.stripe import objects
from tests.fakes.stripe.books import Refusal
from tests.fakes.stripe.objects import Object
from tests.fakes.stripe.payer import Payer

ASYNCHRONOUS = frozenset({"alipay", "wechat_pay"})
"""Methods whose refunds are pending at first."""


class Bank(Payer):
    """Money that goes back. Every argument takes an id or the object itself; what is returned is a copy."""

    def __init__(self, *, livemode: bool = False) -> None:
        super().__init__(livemode=livemode)
        self.refund_status: str | None = None
        """The state in which the next refunds begin; None: succeeded, for wallets pending."""

    def refund_in_dashboard(self, payment: str | Object, amount: int | None = None) -> Object:
        """The operator clicks Refund: no metadata of ours."""
        with self.lock:
            intent = self.kept(payment, "payment_intent")
            return dict(self.make_refund({"payment_intent": intent["id"]} | ({"amount": amount} if amount else {})))

    def settle_refund(self, refund: str | Object, status: str, *, reason: str = "expired_or_canceled_card") -> Object:
        """A refund changes: ``succeeded``, ``failed``, ``canceled``, ``pending``, ``requires_action``."""
        with self.lock:
            found = self.kept(refund, "refund")
            paid = self.objects[found["charge"]]
            was_gone = found["status"] in ("failed", "canceled")
            found["status"] = status
            found.pop("pending_reason", None)
            if status == "pending":
                found["pending_reason"] = "processing"
            if status in ("failed", "canceled") and not was_gone:
                paid["amount_refunded"] -= found["amount"]
                paid["refunded"] = False
            if status == "failed":
                found["failure_reason"] = reason
                self.emit("refund.failed", found)
            self.emit("refund.updated", found)
            self.emit("charge.refund.updated", found)
            self.judge("refund", found)
            return dict(found)

    def dispute(
        self,
        payment: str | Object,
        amount: int | None = None,
        status: str = "needs_response",
        *,
        reason: str = "fraudulent",
    ) -> Object:
        """The payer objects; unless it is an inquiry (``warning_…``) Stripe takes the money at once."""
        with self.lock:
            intent = self.kept(payment, "payment_intent")
            paid = self.objects[intent["latest_charge"]]
            amount = paid["amount"] if amount is None else amount
            made = objects.dispute(
                self.new_id("dispute"), paid, amount=amount, status=status, reason=reason, now=self.now
            )
            self.keep(made)
            paid["disputed"] = True
            if not status.startswith("warning"):
                self._book(made, -amount)
            self.emit("charge.dispute.created", made)
            if not status.startswith("warning"):
                self.emit("charge.dispute.funds_withdrawn", made)
            return dict(made)

    def set_dispute(self, dispute: str | Object, status: str, *, balance: int | None = None) -> Object:
        """A dispute moves on. ``balance``: what its lines in the Stripe balance add up to then.

        Unless told: won and closed inquiries 0, an escalated inquiry and a lost dispute the
        whole amount, else as it was.
        """
        with self.lock:
            found = self.kept(dispute, "dispute")
            before = sum(line["amount"] for line in found["balance_transactions"])
            usual = {"won": 0, "warning_closed": 0, "lost": -found["amount"], "needs_response": -found["amount"]}
            wanted = usual.get(status, before) if balance is None else balance
            found |= {"status": status, "is_charge_refundable": status.startswith("warning")}
            if wanted != before:
                self._book(found, wanted - before)
                self.emit(
                    "charge.dispute.funds_reinstated" if wanted > before else "charge.dispute.funds_withdrawn", found
                )
            is_over = status in ("won", "lost", "warning_closed", "prevented")
            self.emit("charge.dispute.closed" if is_over else "charge.dispute.updated", found)
            self.judge("dispute", found)
            return dict(found)

    def warn_of_fraud(self, payment: str | Object) -> Object:
        """Stripe's early warning about a charge."""
        with self.lock:
            intent = self.kept(payment, "payment_intent")
            warning = {
                "id": f"issfr_{intent['id'][3:]}",
                "object": "radar.early_fraud_warning",
                "actionable": True,
                "charge": intent["latest_charge"],
                "created": self.now,
                "fraud_type": "made_with_stolen_card",
                "livemode": self.livemode,
                "payment_intent": intent["id"],
            }
            return dict(self.emit("radar.early_fraud_warning.created", warning))

    def make_refund(self, params: Object) -> Object:
        """Refund a charge, or refuse as Stripe does."""
        if "payment_intent" in params:
            charge_id = self.find(params["payment_intent"], "payment_intent")["latest_charge"]
            if charge_id is None or self.objects[charge_id]["status"] != "succeeded":
                message = (
                    f"This PaymentIntent ({params['payment_intent']}) does not have a successful charge to refund."
                )
                raise Refusal(400, message, param="payment_intent")
        else:
            charge_id = params.get("charge", "")
        paid = self.find(charge_id, "charge")
        left = paid["amount"] - paid["amount_refunded"]
        amount = params.get("amount", left)
        if left == 0:
            raise Refusal(400, f"Charge {charge_id} has already been refunded.", code="charge_already_refunded")
        if any(
            not one["is_charge_refundable"] and one["status"] != "won" for one in self.of("dispute", charge=charge_id)
        ):
            raise Refusal(
                400, f"Charge {charge_id} has been charged back; cannot issue a refund.", code="charge_disputed"
            )
        if amount < 1:
            raise Refusal(400, "Invalid positive integer", code="parameter_invalid_integer", param="amount")
        if amount > left:
            message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            raise Refusal(400, message, param="amount")
        waits = paid["payment_method_details"]["type"] in ASYNCHRONOUS
        made = objects.refund(
            self.new_id("refund"),
            paid,
            amount=amount,
            status=self.refund_status or ("pending" if waits else "succeeded"),
            metadata=params.get("metadata") or {},
            reason=params.get("reason"),
            now=self.now,
        )
        self.keep(made)
        paid["amount_refunded"] += amount
        paid["refunded"] = paid["amount_refunded"] == paid["amount"]
        self.emit("refund.created", made)
        self.emit("charge.refunded", paid)
        return made

    def _book(self, dispute: Object, amount: int) -> None:
        line = objects.balance_transaction(
            self.new_id("balance_transaction"),
            dispute["id"],
            amount=amount,
            currency=dispute["currency"],
            kind="adjustment",
            now=self.now,
        )
        dispute["balance_transactions"].append(self.keep(line))
