"""Stripe's objects as plain dicts, complete by its schemas at the pinned API version."""

from typing import Any

Object = dict[str, Any]

ADDRESS: Object = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def _nulls(names: str) -> Object:
    return dict.fromkeys(names.split())


def session(identifier: str, params: Object, *, livemode: bool, now: int, offered: list[str], total: int) -> Object:
    """A Checkout Session as it is when it was made: open, unpaid, without a PaymentIntent."""
    nothing = _nulls(
        "after_expiration allow_promotion_codes billing_address_collection client_secret collected_information "
        "consent consent_collection currency_conversion customer_account customer_details "
        "customer_email discounts integration_identifier invoice invoice_creation locale managed_payments "
        "origin_context payment_intent payment_link payment_method_collection "
        "payment_method_configuration_details permissions recovered_from saved_payment_method_options setup_intent "
        "shipping_address_collection shipping_cost submit_type subscription wallet_options"
    )
    currency = params["line_items"][0]["price_data"]["currency"]
    return nothing | {
        "id": identifier,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": params.get("adaptive_pricing", {}).get("enabled", False)},
        "allowed_payment_method_types": params.get("allowed_payment_method_types"),
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "created": now,
        "currency": currency,
        "custom_fields": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "customer": params.get("customer"),
        "customer_creation": "if_required" if "customer" not in params else None,
        "expires_at": params.get("expires_at", now + 86_400),
        "livemode": livemode,
        "metadata": dict(params.get("metadata", {})),
        "mode": params["mode"],
        "payment_method_options": _session_options(params.get("payment_method_options", {})),
        "payment_method_types": offered,
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "success_url": params.get("success_url"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": params.get("ui_mode", "hosted_page"),
        "url": f"https://checkout.stripe.com/c/pay/{identifier}#fidkdWxOYHwnPyd1blpxYHZxWjA0" + "T3Y" * 60 + "%2BeCUl",
    }


def _session_options(options: Object) -> Object:
    made: Object = {}
    for method, chosen in options.items():
        made[method] = dict(chosen)
        if method == "card":
            made[method].setdefault("request_three_d_secure", "automatic")
        if method == "wechat_pay":
            made[method].setdefault("app_id", None)
    return made


def item(identifier: str, line: Object, now: int, livemode: bool) -> Object:
    """One line of a session."""
    data = line["price_data"]
    quantity = line.get("quantity", 1)
    total = data["unit_amount"] * quantity
    price = dict.fromkeys(("custom_unit_amount", "lookup_key", "nickname", "recurring", "tiers_mode"))
    return {
        "id": identifier,
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": data["currency"],
        "description": data.get("product_data", {}).get("name"),
        "metadata": {},
        "price": price
        | {
            "id": identifier.replace("li_", "price_"),
            "object": "price",
            "active": False,
            "billing_scheme": "per_unit",
            "created": now,
            "currency": data["currency"],
            "livemode": livemode,
            "metadata": {},
            "product": identifier.replace("li_", "prod_"),
            "tax_behavior": "unspecified",
            "transform_quantity": None,
            "type": "one_time",
            "unit_amount": data["unit_amount"],
            "unit_amount_decimal": str(data["unit_amount"]),
        },
        "quantity": quantity,
    }


def payment_intent(identifier: str, *, amount: int, currency: str, livemode: bool, now: int, **fields: Any) -> Object:
    """A PaymentIntent that waits for a payment method; ``fields`` replace what differs."""
    nothing = _nulls(
        "application application_fee_amount automatic_payment_methods canceled_at cancellation_reason customer "
        "customer_account description excluded_payment_method_types last_payment_error latest_charge "
        "managed_payments next_action on_behalf_of payment_method payment_method_configuration_details "
        "payment_record processing receipt_email review setup_future_usage shipping source statement_descriptor "
        "statement_descriptor_suffix transfer_data transfer_group allowed_payment_method_types"
    )
    return (
        nothing
        | {
            "id": identifier,
            "object": "payment_intent",
            "amount": amount,
            "amount_capturable": 0,
            "amount_details": {"tip": {}},
            "amount_received": 0,
            "capture_method": "automatic",
            "client_secret": f"{identifier}_secret_fake",
            "confirmation_method": "automatic",
            "created": now,
            "currency": currency,
            "livemode": livemode,
            "metadata": {},
            "payment_method_options": {},
            "payment_method_types": ["card"],
            "status": "requires_payment_method",
        }
        | fields
    )


def charge(identifier: str, intent: Object, *, method: str, now: int) -> Object:
    """The charge of a paid PaymentIntent."""
    nothing = _nulls(
        "application application_fee application_fee_amount balance_transaction calculated_statement_descriptor "
        "description failure_balance_transaction failure_code failure_message on_behalf_of receipt_email "
        "receipt_number receipt_url review shipping source source_transfer statement_descriptor "
        "statement_descriptor_suffix transfer_data transfer_group"
    )
    return nothing | {
        "id": identifier,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"],
        "amount_refunded": 0,
        "billing_details": {"address": dict(ADDRESS), "email": None, "name": None, "phone": None, "tax_id": None},
        "captured": True,
        "created": now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "disputed": False,
        "fraud_details": {},
        "livemode": intent["livemode"],
        "metadata": dict(intent["metadata"]),
        "outcome": {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": True,
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
        "payment_method_details": {"type": method, method: _charged_card() if method == "card" else _wallet()},
        "refunded": False,
        "status": "succeeded",
    }


def _wallet() -> Object:
    return {"fingerprint": None, "transaction_id": "2026112222001400000000000001"}


def _charged_card() -> Object:
    nothing = _nulls(
        "authorization_code electronic_commerce_indicator installments mandate network_transaction_id "
        "regulated_status three_d_secure transaction_link_id wallet amount_authorized"
    )
    return nothing | {
        "brand": "visa",
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "exp_month": 8,
        "exp_year": 2030,
        "funding": "credit",
        "last4": "4242",
        "network": "visa",
    }


def payment_method(identifier: str, *, method: str, customer: str | None, livemode: bool, now: int) -> Object:
    """A card, or a wallet that cannot be used again."""
    card = {
        "brand": "visa",
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": "visa",
        "exp_month": 8,
        "exp_year": 2030,
        "fingerprint": "AOB934RVNwzk6xtn",
        "funding": "credit",
        "generated_from": None,
        "last4": "4242",
        "networks": {"available": ["visa"], "preferred": None},
        "regulated_status": None,
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
    return {
        "id": identifier,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {"address": dict(ADDRESS), "email": None, "name": None, "phone": None, "tax_id": None},
        "created": now,
        "customer": customer,
        "customer_account": None,
        "livemode": livemode,
        "metadata": {},
        "type": method,
        method: card if method == "card" else {},
    }


def refund(
    identifier: str, paid: Object, *, amount: int, status: str, metadata: Object, reason: str | None, now: int
) -> Object:
    """A refund of a charge."""
    method = paid["payment_method_details"]["type"]
    made: Object = {
        "id": identifier,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": paid["id"],
        "created": now,
        "currency": paid["currency"],
        "customer": paid["customer"],
        "customer_account": None,
        "destination_details": {"type": method, method: {"type": "refund"} if method == "card" else {}},
        "metadata": dict(metadata),
        "payment_intent": paid["payment_intent"],
        "payment_method": paid["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
    return made | ({"pending_reason": "processing"} if status == "pending" else {})


EVIDENCE = (
    "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure cancellation_rebuttal "
    "customer_communication customer_email_address customer_name customer_purchase_ip customer_signature "
    "duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id product_description receipt "
    "refund_policy refund_policy_disclosure refund_refusal_explanation service_date service_documentation "
    "shipping_address shipping_carrier shipping_date shipping_documentation shipping_tracking_number "
    "uncategorized_file uncategorized_text"
)


def dispute(identifier: str, paid: Object, *, amount: int, status: str, reason: str, now: int) -> Object:
    """A payer's objection to a charge. It carries no metadata of the payment."""
    return {
        "id": identifier,
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": paid["id"],
        "created": now,
        "currency": paid["currency"],
        "enhanced_eligibility_types": [],
        "evidence": _nulls(EVIDENCE) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": now + 7 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "intended_submission_method": None,
        "is_charge_refundable": status.startswith("warning"),
        "livemode": paid["livemode"],
        "metadata": {},
        "payment_intent": paid["payment_intent"],
        "payment_method_details": {
            "type": "card",
            "card": {"brand": "visa", "case_type": "chargeback", "network": "visa", "network_reason_code": "10.4"},
        },
        "reason": reason,
        "status": status,
    }


def balance_transaction(identifier: str, source: str, *, amount: int, currency: str, kind: str, now: int) -> Object:
    """One line of the Stripe balance."""
    return {
        "id": identifier,
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now,
        "balance_type": "payments",
        "created": now,
        "currency": currency,
        "description": None,
        "exchange_rate": None,
        "fee": 0,
        "fee_details": [],
        "net": amount,
        "reporting_category": "dispute" if amount < 0 else "dispute_reversal",
        "source": source,
        "status": "available",
        "type": kind,
    }


def customer(identifier: str, params: Object, *, livemode: bool, now: int) -> Object:
    """A customer."""
    return {
        "id": identifier,
        "object": "customer",
        "balance": 0,
        "created": now,
        "default_source": None,
        "description": params.get("description"),
        "email": params.get("email"),
        "invoice_settings": dict.fromkeys(("custom_fields", "default_payment_method", "footer", "rendering_options")),
        "livemode": livemode,
        "metadata": dict(params.get("metadata") or {}),
        "name": params.get("name"),
        "shipping": None,
    }


def balance(livemode: bool) -> Object:
    """What ``GET /v1/balance`` says."""
    nothing = [{"amount": 0, "currency": "usd", "source_types": {"card": 0}}]
    return {"object": "balance", "available": nothing, "livemode": livemode, "pending": nothing}


def event(
    identifier: str, kind: str, obj: Object, *, livemode: bool, now: int, api_version: str, key: str | None
) -> Object:
    """What happened to an object, with the object as it was then."""
    return {
        "id": identifier,
        "object": "event",
        "api_version": api_version,
        "created": now,
        "data": {"object": obj},
        "livemode": livemode,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": key},
        "type": kind,
    }
