"""Why a request went where it went, told to who asks; what is kept with the request is in ``settlement.py``.

``x-tokenhub-explain: 1`` is answered with ``x-tokenhub-route``, on success and on a refusal. A
refusal that routing made is logged with its whole decision: it has no receipt, because
nothing was held.
"""

from aiohttp import web

from tokenhub import clock
from tokenhub.errors import HubError
from tokenhub.observability import log
from tokenhub.operations import advice
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.routing.decision import Decision
from tokenhub.routing.short import short

ASKED = "x-tokenhub-explain"
TOLD = "x-tokenhub-route"


def is_asked(request: web.BaseRequest) -> bool:
    """Whether a request wants to know its route."""
    return request.headers.get(ASKED) == "1"


def tell_route(exchange: Exchange) -> None:
    """Put the route into the reply's headers, if it was asked for; call it before the reply begins."""
    if exchange.explain and exchange.route is not None:
        exchange.downstream.headers[TOLD] = short(exchange.route.decision)


def tell_refusal(error: HubError, exchange: Exchange, runtime: Runtime) -> None:
    """Explain a refusal that routing made, and name the models that would be inside the boundaries (P22)."""
    decision: Decision | None = getattr(error, "decision", None)
    if decision is None:
        return
    if exchange.explain:
        exchange.downstream.headers[TOLD] = short(decision)
    found = advice.instead_of(
        runtime.snapshot, exchange.caller, exchange.call, exchange.hints, decision, now_ms=clock.now_ms()
    )
    if found:
        error.metadata["suggestions"] = [one.model.id for one in found]
    log.event("not_routed", request_id=exchange.id, code=error.code, decision=decision.record())
