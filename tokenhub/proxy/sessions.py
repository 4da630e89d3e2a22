"""Sessions on a request's way: told from what the client sent, kept where their tool loop began.

Most requests cost two MACs here and no query. One in the middle of a tool loop, or with a
provider's signatures in its history, is planned after one read of where it is bound.
"""

from typing import Any, Final

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.billing.holds import Pin
from tokenhub.catalog.data_policy import DATA_POLICIES
from tokenhub.catalog.models import Deployment
from tokenhub.providers.adapter import NO_HINTS, CacheHints
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.routing import affinity, session
from tokenhub.store import affinities

_NO_RETENTION: Final = DATA_POLICIES[-1]
_RETENTION: Final = "prompt_cache_retention"
_IN_MEMORY: Final = (None, "in_memory", "in-memory")


def recognise(request: BaseRequest, exchange: Exchange, runtime: Runtime) -> None:
    """Find out which session a request belongs to; raises InvalidRequest for a header that is too long."""
    assert exchange.caller is not None
    header = request.headers.get(session.HEADER)
    exchange.session = session.of(
        exchange.body, header, exchange.native, account_id=exchange.caller.account.id, key=runtime.session_key
    )


def seed(exchange: Exchange) -> bytes:
    """Return what draws the order of deployments: the session, else the request itself, so that load is spread."""
    return exchange.session.id if exchange.session is not None else exchange.id.encode()


async def recall(exchange: Exchange, runtime: Runtime) -> None:
    """Read which deployment a session is bound to, if it is in a state to be; raises Unavailable without the store."""
    if exchange.session is not None and exchange.session.is_bound:
        key = _pin_key(exchange, runtime)
        now_ms = exchange.started_at_ms
        exchange.pinned = await runtime.read(lambda database: affinities.find(database, key, now_ms))


def pin(exchange: Exchange, deployment: Deployment, runtime: Runtime) -> Pin | None:
    """Return what binds the session to the deployment that has just answered it with a tool call or a signature."""
    if exchange.session is None:
        return None
    return Pin(_pin_key(exchange, runtime), deployment.id, clock.now_ms() + affinity.PIN_LIFE_MS)


def _pin_key(exchange: Exchange, runtime: Runtime) -> bytes:
    assert exchange.session is not None
    assert exchange.call is not None
    return session.pin_key(exchange.session, exchange.call.model, key=runtime.session_key)


def cache_hints(exchange: Exchange, deployment: Deployment, runtime: Runtime) -> CacheHints:
    """Return what an upstream may be told of a session, and whether prompts may be written to a cache that costs extra."""
    caller, route = exchange.caller, exchange.route
    assert caller is not None
    assert route is not None
    if exchange.session is None:
        return NO_HINTS
    told = ""
    if deployment.provider.quirks["prompt_cache_key"]:
        told = session.cache_key(exchange.session, account_id=caller.account.id, key=runtime.session_key)
    return CacheHints(told, route.prompt_cache)


def with_own_cache(
    body: dict[str, Any], exchange: Exchange, runtime: Runtime
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a body without what of a cache is not the client's to say, and the names of fields that were left out.

    ``prompt_cache_key`` becomes a MAC: accounts behind one credential that choose the same name share no place in
    its provider's cache. A cache that outlives memory is not asked for where a scope demands that nothing be kept.
    """
    caller = exchange.caller
    assert caller is not None
    name = body.get("prompt_cache_key")
    if name and isinstance(name, str):
        account_id, key = caller.account.id, runtime.session_key
        named = session.named(name, account_id=account_id, key=key)
        body = {**body, "prompt_cache_key": session.cache_key(named, account_id=account_id, key=key)}
    if body.get(_RETENTION) in _IN_MEMORY or not _keeps_nothing(exchange, runtime):
        return body, ()
    return {name: value for name, value in body.items() if name != _RETENTION}, (_RETENTION,)


def _keeps_nothing(exchange: Exchange, runtime: Runtime) -> bool:
    """Say whether some scope demands that nothing of a request be kept."""
    assert exchange.caller is not None
    scoped = [one.preferences for one in (*runtime.snapshot.chain, *exchange.caller.chain)]
    own = exchange.hints.preferences
    return any(one.data_policy == _NO_RETENTION for one in (*scoped, *([own] if own else [])))
