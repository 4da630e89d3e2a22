"""A call to its route, as the proxy plans it and as ``routing explain`` shows it: the same code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tokenhub.accounts.accounts import Caller
from tokenhub.call import TRANSLATED, Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.errors import HubError, InvalidRequest, ModelNotFound, PermissionDenied
from tokenhub.operations.snapshots import Snapshot
from tokenhub.routing import boundaries, preferences, route
from tokenhub.routing.boundaries import Chain, Refuses, Scoped
from tokenhub.routing.preferences import Preferences
from tokenhub.routing.route import Candidate, Route
from tokenhub.routing.standing import Availability
from tokenhub.routing.survey import Survey
from tokenhub.settings import Settings


@dataclass(frozen=True, slots=True)
class Hints:
    """What a request itself says about routing."""

    preferences: Preferences | None = None
    fallbacks: tuple[str, ...] = ()
    """Models to try after its own."""
    left_out: tuple[str, ...] = ()
    """Fields that no deployment is sent, whatever it takes: they were left out when it came in."""

    @property
    def chain(self) -> Chain:
        """The request's own scope, if it sets something."""
        return (Scoped("request", "", self.preferences),) if self.preferences is not None else ()


NO_HINTS: Final = Hints()
_SERVED_BY_ALL: Final = TRANSLATED | {Wire.CHAT}
"""Wires in which every chat deployment can be called."""


def hints_of(body: Mapping[str, Any], left_out: tuple[str, ...]) -> Hints:
    """Read a request's ``provider`` and ``models``; raises InvalidRequest for what cannot be honoured."""
    if body.get("extra_body") is not None:
        _refuse_misplaced(body["extra_body"])
    if body.get("provider") is None and body.get("models") is None and not left_out:
        return NO_HINTS
    return Hints(preferences.of_request(body), preferences.fallbacks(body), left_out)


def _refuse_misplaced(extra: Any) -> None:
    """Refuse hints in ``extra_body`` itself, which only OpenAI's Python SDK unpacks: nobody would keep to them (T106)."""
    for name in ("provider", "models") if isinstance(extra, Mapping) else ():
        if extra.get(name) is not None:
            raise InvalidRequest(
                f"{name} is not read inside extra_body: send it beside the other fields.", param=f"extra_body.{name}"
            )


def planned(
    snapshot: Snapshot,
    caller: Caller,
    call: Call,
    hints: Hints,
    body: Mapping[str, Any],
    native: Mapping[str, Any],
    *,
    availability: Availability,
    seed: bytes,
    now_ms: int,
    settings: Settings,
    pinned: str | None = None,
) -> Route:
    """Return the route of a call; raises ModelNotFound, PermissionDenied, InvalidRequest or Unavailable.

    ``seed``: account and session, at most 64 bytes. ``pinned``: the deployment that holds this
    session's tool loop. ``body``, in the form of calls inside, and ``native``, as the client sent
    it: asked only where every field must be taken as it is.
    """
    if hints.preferences is not None:
        _check_providers(snapshot, hints.preferences)
    for name in (call.model, *hints.fallbacks) if hints.fallbacks else (call.model,):
        snapshot.resolve(name, caller).require(call.capability)
    surveys = [snapshot.survey(name, caller) for name in (call.model, *hints.fallbacks)]
    strict = any(one.requires_parameters for one in surveys) or (
        hints.preferences is not None and hints.preferences.require_parameters
    )
    return route.plan(
        call,
        surveys,
        availability=availability,
        seed=seed,
        now_ms=now_ms,
        max_attempts=settings.routing_max_attempts if settings.routing_failover else 1,
        request=hints.preferences,
        pinned=pinned,
        refuses=_refuses(snapshot, call, hints, body, native) if strict else None,
        serves=None if call.wire in _SERVED_BY_ALL else partial(_serves, snapshot, call),
    )


def refused_by_all(
    snapshot: Snapshot, call: Call, planned: Route, body: Mapping[str, Any], native: Mapping[str, Any]
) -> InvalidRequest | None:
    """Return what a client is told when whatever would be tried finds the request impossible before it is sent, as ``attempts`` does."""
    refusal = None
    for candidate in planned.candidates:
        refusal = _impossible(snapshot, call, candidate.deployment, body, native)
        if refusal is None:
            return None
    return refusal


def _impossible(
    snapshot: Snapshot, call: Call, deployment: Deployment, body: Mapping[str, Any], native: Mapping[str, Any]
) -> InvalidRequest | None:
    adapter = snapshot.adapter(deployment, call)
    assert adapter is not None, "a route holds nothing that cannot be called"
    try:
        adapter.request(call, native if adapter.wire is call.wire else body, deployment, None)
    except InvalidRequest as error:
        return error
    return None


def still_inside(
    snapshot: Snapshot,
    caller: Caller,
    call: Call,
    hints: Hints,
    candidate: Candidate,
    body: Mapping[str, Any],
    native: Mapping[str, Any],
    *,
    made: int,
) -> Candidate | None:
    """Return a planned candidate as it is now, or None: after so many attempts it may not be tried any more (T108).

    The caller's boundaries may have narrowed since it was planned, and what is known of the
    deployment may have changed, which the request's own boundaries bind as well. Its prices
    stay those of the plan, which are held for. Raises as ``planned`` does when none of the
    request's names means anything to this caller any more.
    """
    surveys = _surveys_left(snapshot, caller, (call.model, *hints.fallbacks))
    most, chain = surveys[0].wishes.max_attempts, (*surveys[0].chain, *hints.chain)
    found = next((now for one in surveys if (now := one.inside.get(candidate.deployment.id))), None)
    if found is None or (most is not None and made >= most) or not _serves(snapshot, call, found):
        return None
    refuses = _refuses(snapshot, call, hints, body, native)
    if boundaries.excluded(found, candidate.card, chain, call, refuses) is not None:
        return None
    return Candidate(found, candidate.card)


def _surveys_left(snapshot: Snapshot, caller: Caller, names: Sequence[str]) -> list[Survey]:
    """Return the surveys of the names that still mean something to a caller; raises what the first is refused with if none does."""
    found: list[Survey] = []
    refusal: HubError | None = None
    for name in names:
        try:
            found.append(snapshot.survey(name, caller))
        except (ModelNotFound, PermissionDenied) as error:
            refusal = refusal or error
    if not found and refusal is not None:
        raise refusal
    return found


def _check_providers(snapshot: Snapshot, wanted: Preferences) -> None:
    """Refuse a provider that does not exist: a misspelt one in ``ignore`` would not be ignored (T106)."""
    named = (
        ("ignore", wanted.deny_providers or ()),
        ("order", wanted.order),
        ("only", wanted.providers or ()),
    )
    for member, names in named:
        for name in names:
            provider, at, region = name.partition("@")
            known = snapshot.catalog.providers.get(provider)
            if known is None or (at and region not in known.regions):
                raise InvalidRequest(
                    f"provider.{member} names {name!r}, which is no provider here; GET /v1/models lists those of each model.",
                    param=f"provider.{member}",
                )


def _serves(snapshot: Snapshot, call: Call, deployment: Deployment) -> bool:
    return snapshot.adapter(deployment, call) is not None


def _refuses(
    snapshot: Snapshot, call: Call, hints: Hints, body: Mapping[str, Any], native: Mapping[str, Any]
) -> Refuses:
    """Ask the adapter itself what of the body a deployment does not take: it cannot be wrong about what it sends."""

    def asked(deployment: Deployment) -> Sequence[str]:
        adapter = snapshot.adapter(deployment, call)
        if adapter is None:
            return hints.left_out
        try:
            dropped = adapter.request(call, native if adapter.wire is call.wire else body, deployment, None).dropped
        except InvalidRequest as error:
            return (*hints.left_out, error.param or "body")
        return (*hints.left_out, *dropped)

    return asked
