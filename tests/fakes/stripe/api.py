"""Stripe's endpoints over the books: parameters in, an object or a refusal out."""

import re
from collections.abc import Callable
from typing import Any

from tests.fakes.stripe import objects, spec
from tests.fakes.stripe.bank import Bank
from tests.fakes.stripe.books import EVENTS_KEPT_S, Refusal
from tests.fakes.stripe.objects import Object

MINIMUM = {"usd": 50, "cny": 400}
MAXIMUM = 99_999_999
ISO = re.compile(r"[a-z]{3}")
SESSION_S = (30 * 60, 24 * 60 * 60)
"""Within what a session may expire."""

Operation = Callable[[Bank, dict[str, str], Object], Object]


def call(books: Bank, method: str, path: str, params: Object) -> tuple[str, Object]:
    """Carry out one request; return the name of its reply's schema and the reply. Refusal when Stripe would refuse."""
    for known, template, schema, operation in TABLE:
        if method == known and (found := _pattern(template).fullmatch(path)):
            expand = params.get("expand", [])
            plain = {key: value for key, value in params.items() if key != "expand"}
            made = operation(books, found.groupdict(), plain)
            return schema, books.expanded(made, expand)
    raise Refusal(404, f"Unrecognized request URL ({method}: {path}).")


def coerce(method: str, path: str, raw: Object) -> Object:
    """The parameters as numbers, booleans and lists; refused where Stripe's description refuses them."""
    template = next(
        (template for known, template, _, _ in TABLE if known == method and _pattern(template).fullmatch(path)), ""
    )
    if "payment_method_types" in raw:
        message = "payment_method_types is no longer supported. Use allowed_payment_method_types."
        raise Refusal(400, message, code="payment_method_types_no_longer_supported", param="payment_method_types")
    try:
        return spec.coerce(raw, spec.schema_of(method, template))
    except spec.UnknownParameter as error:
        message = f"Received unknown parameter: {error}"
        raise Refusal(400, message, code="parameter_unknown", param=str(error)) from error
    except spec.BadParameter as error:
        raise Refusal(400, str(error), param=error.param) from error


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))


# ---- sessions --------------------------------------------------------------------------------


def _create_session(books: Bank, _: dict[str, str], params: Object) -> Object:
    for name in ("mode", "line_items", "success_url"):
        if not params.get(name):
            raise Refusal(400, f"Missing required param: {name}.", code="parameter_missing", param=name)
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise Refusal(400, "The fake serves hosted pages only.", param="ui_mode")
    for line in params["line_items"]:
        data = line.get("price_data", {})
        if "product_data" not in data or not data["product_data"].get("name"):
            raise Refusal(400, "Missing required param: product_data.", code="parameter_missing", param="line_items[0]")
        _check_amount(data.get("unit_amount"), data.get("currency", ""), "line_items[0][price_data][unit_amount]")
    ends_in = params.get("expires_at", books.now + SESSION_S[1]) - books.now
    if not SESSION_S[0] - 5 <= ends_in <= SESSION_S[1] + 5:
        message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from now."
        raise Refusal(400, message, param="expires_at")
    _check_customer(books, params)
    options = params.get("payment_method_options", {})
    if any(options.get(one, {}).get("setup_future_usage", "none") != "none" for one in ("alipay", "wechat_pay")):
        raise Refusal(400, "This payment method cannot be saved.", param="payment_method_options")
    return books.make_session(params)


def _check_amount(amount: Any, currency: str, param: str) -> None:
    if not ISO.fullmatch(currency):
        raise Refusal(400, f"Invalid currency: {currency}.", param="currency")
    if not isinstance(amount, int):
        raise Refusal(400, f"Invalid integer: {amount}", code="parameter_invalid_integer", param=param)
    if amount < MINIMUM.get(currency, 1):
        raise Refusal(400, "Amount must convert to at least 50 cents.", code="amount_too_small", param=param)
    if amount > MAXIMUM:
        raise Refusal(400, "Amount must be no more than 999,999.99.", code="amount_too_large", param=param)


def _check_customer(books: Bank, params: Object) -> None:
    if "customer" in params and books.objects.get(params["customer"], {}).get("object") != "customer":
        message = f"No such customer: '{params['customer']}'"
        raise Refusal(400, message, code="resource_missing", param="customer")


def _expire_session(books: Bank, names: dict[str, str], _: Object) -> Object:
    found = books.find(names["session"], "checkout.session")
    if found["status"] != "open":
        raise Refusal(400, f'Only Checkout Sessions with a status in ["open"] can be expired; it is {found["status"]}.')
    books.end_session(found)
    return found


def _lines(books: Bank, names: dict[str, str], params: Object) -> Object:
    found = books.find(names["session"], "checkout.session")
    shown: Object = books.expanded(found, ["line_items"])["line_items"]
    return shown


# ---- payments --------------------------------------------------------------------------------


def _create_payment(books: Bank, _: dict[str, str], params: Object) -> Object:
    _check_amount(params["amount"], params["currency"], "amount")
    _check_customer(books, params)
    if not params.get("confirm"):
        return books.make_payment(params)
    if "payment_method" not in params:
        raise Refusal(400, "Missing required param: payment_method.", code="parameter_missing", param="payment_method")
    return books.charge_saved_card(params)


def _cancel_payment(books: Bank, names: dict[str, str], _: Object) -> Object:
    intent = books.find(names["intent"], "payment_intent")
    if intent["status"] in ("succeeded", "canceled"):
        message = f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}."
        raise Refusal(400, message, code="payment_intent_unexpected_state")
    books.cancel_payment(intent)
    return intent


# ---- the rest --------------------------------------------------------------------------------


def _create_customer(books: Bank, _: dict[str, str], params: Object) -> Object:
    made = objects.customer(books.new_id("customer"), params, livemode=books.livemode, now=books.now)
    books.keep(made)
    books.emit("customer.created", made)
    return made


def _update_metadata(kind: str, name: str) -> Operation:
    def operation(books: Bank, names: dict[str, str], params: Object) -> Object:
        found = books.find(names[name], kind)
        for key, value in (params.get("metadata") or {}).items():
            found["metadata"][key] = value
        for key in ("email", "name", "description", "invoice_settings"):
            if key in params and key in found:
                found[key] = params[key] if not isinstance(params[key], dict) else found[key] | params[key]
        return found

    return operation


def _cancel_refund(books: Bank, names: dict[str, str], _: Object) -> Object:
    found = books.find(names["refund"], "refund")
    if found["status"] != "requires_action":
        raise Refusal(400, "Only refunds that require action can be canceled.")
    books.settle_refund(found, "canceled")
    return found


def _detach(books: Bank, names: dict[str, str], _: Object) -> Object:
    books.detach_card(names["payment_method"])
    return books.find(names["payment_method"], "payment_method")


def _retry_event(books: Bank, names: dict[str, str], _: Object) -> Object:
    found = books.find(names["id"], "event")
    for listener in books.listeners:
        listener(found)
    return found


def _get(kind: str, name: str) -> Operation:
    return lambda books, names, _: books.find(names[name], kind)


FILTERS = ("payment_intent", "charge", "customer", "status", "type", "payment_link", "subscription")


def _list(kind: str, url: str) -> Operation:
    def operation(books: Bank, names: dict[str, str], params: Object) -> Object:
        books.pass_time()
        found = books.of(kind, **{key: params[key] for key in FILTERS if key in params}, **_owner(names))
        if kind == "event":
            wanted = params.get("types")
            if wanted is not None and len(wanted) > 20:
                raise Refusal(400, "You may pass at most 20 types.", param="types")
            found = [one for one in found if wanted is None or one["type"] in wanted]
            since = books.now + 1 if books.hides_events else books.now - EVENTS_KEPT_S
            found = [one for one in found if one["created"] >= since]
        return _page(_created(found, params.get("created")), params, url.format(**names))

    return operation


def _owner(names: dict[str, str]) -> dict[str, str]:
    return {"customer": names["customer"]} if "customer" in names else {}


def _created(found: list[Object], wanted: Any) -> list[Object]:
    if wanted is None:
        return found
    if isinstance(wanted, int):
        return [one for one in found if one["created"] == wanted]
    tests: dict[str, Callable[[int, int], bool]] = {
        "gt": lambda at, edge: at > edge,
        "gte": lambda at, edge: at >= edge,
        "lt": lambda at, edge: at < edge,
        "lte": lambda at, edge: at <= edge,
    }
    return [one for one in found if all(tests[name](one["created"], edge) for name, edge in wanted.items())]


def _page(found: list[Object], params: Object, url: str) -> Object:
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise Refusal(
            400, f"This value must be between 1 and 100: {limit}.", code="parameter_invalid_integer", param="limit"
        )
    ids = [one["id"] for one in found]
    for name in ("starting_after", "ending_before"):
        if name in params and params[name] not in ids:
            raise Refusal(400, f"No such object: '{params[name]}'", code="resource_missing", param=name)
    if "ending_before" in params:
        before = found[: ids.index(params["ending_before"])]
        page, more = before[-limit:], len(before) > limit
    else:
        after = found[ids.index(params["starting_after"]) + 1 :] if "starting_after" in params else found
        page, more = after[:limit], len(after) > limit
    return {"object": "list", "data": page, "has_more": more, "url": url}


def _read(kind: str, url: str, name: str) -> list[tuple[str, str, str, Operation]]:
    """Retrieve and list."""
    return [
        ("GET", f"{url}/{{{name}}}", kind, _get(kind, name)),
        ("GET", url, f"list_of.{kind}", _list(kind, url)),
    ]


SESSIONS = "/v1/checkout/sessions"
TABLE: list[tuple[str, str, str, Operation]] = [
    ("POST", SESSIONS, "checkout.session", _create_session),
    ("POST", f"{SESSIONS}/{{session}}", "checkout.session", _update_metadata("checkout.session", "session")),
    ("POST", f"{SESSIONS}/{{session}}/expire", "checkout.session", _expire_session),
    ("GET", f"{SESSIONS}/{{session}}/line_items", "list_of.item", _lines),
    *_read("checkout.session", SESSIONS, "session"),
    ("POST", "/v1/payment_intents", "payment_intent", _create_payment),
    ("POST", "/v1/payment_intents/{intent}/cancel", "payment_intent", _cancel_payment),
    *_read("payment_intent", "/v1/payment_intents", "intent"),
    ("POST", "/v1/refunds", "refund", lambda books, _, params: books.make_refund(params)),
    ("POST", "/v1/refunds/{refund}", "refund", _update_metadata("refund", "refund")),
    ("POST", "/v1/refunds/{refund}/cancel", "refund", _cancel_refund),
    *_read("refund", "/v1/refunds", "refund"),
    *_read("charge", "/v1/charges", "charge"),
    *_read("dispute", "/v1/disputes", "dispute"),
    *_read("event", "/v1/events", "id"),
    ("POST", "/v1/events/{id}/retry", "event", _retry_event),
    ("POST", "/v1/customers", "customer", _create_customer),
    ("POST", "/v1/customers/{customer}", "customer", _update_metadata("customer", "customer")),
    *_read("customer", "/v1/customers", "customer"),
    (
        "GET",
        "/v1/customers/{customer}/payment_methods",
        "list_of.payment_method",
        _list("payment_method", "/v1/customers/{customer}/payment_methods"),
    ),
    ("POST", "/v1/payment_methods/{payment_method}/detach", "payment_method", _detach),
    *_read("payment_method", "/v1/payment_methods", "payment_method"),
    *_read("balance_transaction", "/v1/balance_transactions", "id"),
    ("GET", "/v1/balance", "balance", lambda books, _, params: objects.balance(books.livemode)),
]
