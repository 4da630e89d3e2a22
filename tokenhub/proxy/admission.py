"""Who asks, for what, and the hold: a Caller, a Call and a Route, or a refusal.

A refusal never tells why a key is not accepted: unknown, malformed, revoked and expired
keys get the same bytes (T39). Nothing is held and nothing counts before the body is whole.
"""

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.accounts import keys
from tokenhub.accounts.accounts import Caller, Versions
from tokenhub.billing import bound, features
from tokenhub.billing.holds import Place, Placed, RateState, Refusal, Refused
from tokenhub.errors import AuthenticationFailed, HubError
from tokenhub.operations import callers, planning, snapshots
from tokenhub.operations.snapshots import Snapshot
from tokenhub.providers.addresses import HOP_HEADER, next_hop
from tokenhub.proxy import bodies, hold_refused, sessions
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.store import accounts
from tokenhub.store.database import Database
from tokenhub.wire.surface import KEY_HEADERS

_STALE_TRIES = 2


async def admit(request: BaseRequest, exchange: Exchange, runtime: Runtime) -> None:
    """Find the caller, read the body, learn what is asked."""
    if runtime.refusing is not None:
        raise runtime.refusing
    exchange.hop = next_hop(request.headers.get(HOP_HEADER), runtime.instance)
    surface = exchange.surface
    exchange.digest, exchange.caller = await authenticate(request, runtime, surface.key_headers)
    raw = await bodies.read(request, surface.media_type, exchange.caller, runtime)
    exchange.native, exchange.dropped = features.check(surface.parse(raw), surface.wire)
    exchange.call, exchange.body = surface.call(exchange.native, len(raw))
    exchange.hints = planning.hints_of(exchange.native, exchange.dropped)
    sessions.recognise(request, exchange, runtime)


async def authenticate(
    request: BaseRequest, runtime: Runtime, key_headers: tuple[str, ...] = KEY_HEADERS
) -> tuple[bytes, Caller]:
    """Return the digest and the caller of the request's key; raises AuthenticationFailed or PermissionDenied."""
    digest = keys.digest(credential_of(request, key_headers))
    return digest, await runtime.caller(digest)


def credential_of(request: BaseRequest, key_headers: tuple[str, ...] = KEY_HEADERS) -> str:
    """Return the one key of a request, from ``Authorization: Bearer`` or a header of its API's; two different ones are none (T34)."""
    found = {value.strip() for name in key_headers for value in request.headers.getall(name, ())}
    for value in request.headers.getall("Authorization", ()):
        scheme, _, rest = value.partition(" ")
        found.add(rest.strip() if scheme.lower() == "bearer" else "")
    if len(found) != 1 or not keys.is_well_formed(key := found.pop()):
        raise AuthenticationFailed(callers.NOT_ACCEPTED)
    return key


async def place_hold(exchange: Exchange, runtime: Runtime) -> None:
    """Plan the route and ask the write for the hold; plan again when the plan was made from older rows."""
    await sessions.recall(exchange, runtime)
    for _ in range(_STALE_TRIES):
        place = await _planned(exchange, runtime)
        exchange.asked = True
        outcome = await runtime.writer.submit(place)
        if not _is_stale(outcome):
            break
        await _look_again(exchange, runtime)
    else:
        outcome = await runtime.writer.place_planned(lambda database: _plan_anew(exchange, database, runtime))
    _take(outcome, exchange)


async def _planned(exchange: Exchange, runtime: Runtime) -> Place:
    """Plan on the snapshot; a refusal drawn from it is believed only when nothing has changed since."""
    snapshot = runtime.snapshot
    try:
        return plan(exchange, snapshot, runtime)
    except HubError:
        if await runtime.fresh() is snapshot:
            raise
        exchange.caller = await runtime.caller(exchange.digest)
        return plan(exchange, runtime.snapshot, runtime)


def _is_stale(outcome: object) -> bool:
    return isinstance(outcome, Refused) and outcome.reason is Refusal.STALE


def _plan_anew(exchange: Exchange, database: Database, runtime: Runtime) -> Place:
    """Plan from rows read in the write itself, in the writer's thread: the third try cannot be stale."""
    found = accounts.callers(database, [exchange.digest]).get(exchange.digest)
    exchange.caller = callers.accepted(found, clock.now_ms())
    snapshot = snapshots.read(database, runtime.hub.vault, runtime.own_credentials)
    return plan(exchange, snapshot, runtime)


async def _look_again(exchange: Exchange, runtime: Runtime) -> None:
    await runtime.reload()
    exchange.caller = await runtime.caller(exchange.digest)


def plan(exchange: Exchange, snapshot: Snapshot, runtime: Runtime) -> Place:
    """Plan the route of an exchange on a snapshot, and what its hold must cover."""
    caller, call = exchange.caller, exchange.call
    assert caller is not None
    assert call is not None
    exchange.route = planning.planned(
        snapshot,
        caller,
        call,
        exchange.hints,
        exchange.body,
        exchange.native,
        availability=runtime.availability,
        seed=sessions.seed(exchange),
        pinned=exchange.pinned,
        now_ms=clock.now_ms(),
        settings=runtime.settings,
    )
    candidates = exchange.route.candidates
    exchange.bound = limit = bound.bound(call, [(one.deployment, one.card) for one in candidates], caller.fee_bp)
    return Place(
        request_id=exchange.id,
        key_id=caller.key.id,
        account_id=caller.account.id,
        versions=Versions(
            snapshot.installation_version,
            snapshot.catalog_version,
            caller.plan.version,
            caller.account.version,
            caller.key.version,
        ),
        wanted_nano=limit.wanted_nano,
        minimum_nano=limit.minimum_nano,
        output_token_atto=limit.output_token_atto,
        output_wanted=limit.output_wanted,
        output_minimum=limit.output_minimum,
        key_rpm=caller.key_rpm,
        account_rpm=caller.account_rpm,
        concurrency=caller.concurrency,
        price_version=candidates[0].card.version,
    )


def _take(outcome: object, exchange: Exchange) -> None:
    if isinstance(outcome, Placed):
        exchange.hold = outcome
        tell_rates(exchange.downstream.headers, outcome.key_rate, outcome.account_rate)
        if outcome.output_limit is not None:
            exchange.downstream.headers["x-tokenhub-output-limit"] = str(outcome.output_limit)
        return
    assert isinstance(outcome, Refused)
    exchange.ended = True
    if outcome.key_rate is not None and outcome.account_rate is not None:
        tell_rates(exchange.downstream.headers, outcome.key_rate, outcome.account_rate)
    raise hold_refused.error_of(outcome)


def tell_rates(headers: dict[str, str], key_rate: RateState, account_rate: RateState) -> None:
    """Show the tighter of the two windows, in OpenAI's header names."""
    rate = key_rate if key_rate.remaining <= account_rate.remaining else account_rate
    headers["x-ratelimit-limit-requests"] = str(rate.limit)
    headers["x-ratelimit-remaining-requests"] = str(rate.remaining)
    headers["x-ratelimit-reset-requests"] = f"{rate.reset_s}s"
