"""Why a request went where it went, told to who asks.

``x-tokenhub-explain: 1`` is answered with ``x-tokenhub-route``, on success and on a refusal. The
decision of a request that had a hold is kept with it (``settlement.py``), that of one which was
refused before in a row of its own (``refusals.py``), within a bound; a refusal that routing made
is logged with its whole decision in any case.
"""

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.errors import HubError
from tokenhub.observability import log
from tokenhub.operations import advice
from tokenhub.proxy import refusals
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.routing.short import short

ASKED = "x-tokenhub-explain"
TOLD = "x-tokenhub-route"


def is_asked(request: BaseRequest) -> bool:
    """Whether a request wants to know its route."""
    return request.headers.get(ASKED) == "1"


def tell_route(exchange: Exchange) -> None:
    """Put the route into the reply's headers, if it was asked for; call it before the reply begins."""
    if exchange.explain and exchange.route is not None:
        exchange.downstream.headers[TOLD] = short(exchange.route.decision)


def tell_refusal(error: HubError, exchange: Exchange, runtime: Runtime) -> None:
    """Explain a refusal before a hold and keep it; one of routing names the models that would be inside the boundaries (P22)."""
    decision = refusals.decision_of(error, exchange)
    if decision is None or exchange.caller is None:
        return
    now_ms = clock.now_ms()
    # One that had a hold has a receipt.
    kept = exchange.hold is None and runtime.refusals.has_room(exchange.caller.account.id)
    if kept:
        runtime.refusals.keep(refusals.refused_request(error, exchange, decision, now_ms))
    if exchange.explain:
        exchange.downstream.headers[TOLD] = short(decision)
    if exchange.route is not None and decision is exchange.route.decision:
        return  # the hold's refusal: its route was well
    found = advice.instead_of(runtime.snapshot, exchange.caller, exchange.call, exchange.hints, decision, now_ms=now_ms)
    if found:
        error.metadata["suggestions"] = [one.model.id for one in found]
    log.event("not_routed", request_id=exchange.id, code=error.code, kept=kept, decision=decision.record())
