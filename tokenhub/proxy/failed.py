"""What a client is told when no provider has answered, or when one broke off: who failed, and what to ask instead.

The sibling named is one that this key may call, inside its boundaries (P5, P18).
"""

from functools import partial
from math import ceil
from typing import Any

from tokenhub import clock
from tokenhub.catalog.models import Deployment, Model
from tokenhub.catalog.siblings import MOST, Relation, StandIn
from tokenhub.errors import HubError, ModelNotFound, Unavailable, UpstreamFailed, UpstreamTimeout
from tokenhub.operations import advice
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.routing.route import Candidate
from tokenhub.wire.faults import Failure, FaultKind

_CREDENTIALS_FAULTS = frozenset({FaultKind.AUTH, FaultKind.BILLING})
"""What every model behind that credential will meet."""

_RETRY = "Try again in 1, 2, then 4 s."


def all_failed(exchange: Exchange, runtime: Runtime) -> HubError:
    """Say how the search ended: by the kinds of the failures, with the providers' names."""
    tried = _failures(exchange)
    assert tried, "the first candidate is always tried"
    kinds = {failure.kind for _, failure in tried}
    providers = list(dict.fromkeys(deployment.provider.id for deployment, _ in tried))
    model = tried[0][0].model
    found = _stand_ins(exchange, runtime, model)
    instead = _instead(found)
    metadata = {
        "provider": providers[-1],
        "attempts": [
            {"provider": deployment.provider.id, "reason": failure.kind.value, "status": failure.status}
            for deployment, failure in tried
        ],
        **_suggested(found),
    }
    who = ", ".join(providers)
    if kinds == {FaultKind.MODEL_GONE}:
        return ModelNotFound(
            f"{who} no longer offers {model.id!r}{_since(model)}.{instead}", param="model", metadata=metadata
        )
    if kinds in ({FaultKind.RATE}, {FaultKind.RATE, FaultKind.TOO_LARGE}):
        waits = [failure.retry_after_s for _, failure in tried if failure.retry_after_s]
        return Unavailable(
            f"{who} throttles this gateway at present.{instead}",
            metadata=metadata,
            retry_after_s=max(1, ceil(min(waits, default=5))),
        )
    if kinds == {FaultKind.GEO}:
        return UpstreamFailed(
            f"{who} refuses this gateway's country for {model.id!r}.{instead}", metadata=metadata | {"reason": "geo"}
        )
    if tried[-1][1].kind is FaultKind.TIMEOUT:
        return UpstreamTimeout(
            f"{who} did not answer in time; nothing was charged. {_RETRY}{instead}", metadata=metadata
        )
    return UpstreamFailed(f"{who} failed to answer; nothing was charged. {_RETRY}{instead}", metadata=metadata)


def broken(exchange: Exchange, runtime: Runtime, candidate: Candidate, failure: Failure) -> HubError:
    """Say that a provider failed in the middle of its reply."""
    provider = candidate.deployment.provider.id
    found = _stand_ins(exchange, runtime, candidate.deployment.model)
    metadata = {"provider": provider, "reason": failure.kind.value, **_suggested(found)}
    instead = _instead(found)
    if failure.kind is FaultKind.TIMEOUT:
        return UpstreamTimeout(
            f"{provider} stopped sending in the middle of its reply; nothing was charged. Try again.{instead}",
            metadata=metadata,
        )
    return UpstreamFailed(
        f"{provider} failed in the middle of its reply; nothing was charged. Try again.{instead}", metadata=metadata
    )


def _failures(exchange: Exchange) -> list[tuple[Deployment, Failure]]:
    """What was tried, and how it failed."""
    return [(attempt.candidate.deployment, attempt.failure) for attempt in exchange.attempts if attempt.failure]


def _stand_ins(exchange: Exchange, runtime: Runtime, model: Model) -> list[StandIn]:
    """The models to name instead: first those that are not behind a credential or provider which refuses them just the same.

    One of the family is always among them, if this key may call one: a refusal can be meant for one model alone.
    """
    assert exchange.caller is not None
    assert exchange.call is not None
    failures = _failures(exchange)
    credentials = {one.credential.id for one, failure in failures if failure.kind in _CREDENTIALS_FAULTS}
    providers = {one.provider.id for one, failure in failures if failure.kind is FaultKind.GEO}

    def usable(one: Deployment) -> bool:
        return one.credential.id not in credentials and one.provider.id not in providers

    find = partial(
        advice.stand_ins, runtime.snapshot, exchange.caller, exchange.call, exchange.hints, model, now_ms=clock.now_ms()
    )
    found = find(usable=usable)
    if (credentials or providers) and not any(one.relation is Relation.FAMILY for one in found):
        found = found[: MOST - 1] + [one for one in find() if one.relation is Relation.FAMILY][:1]
    return found


def _instead(found: list[StandIn]) -> str:
    return f" {found[0].words}." if found else ""


def _suggested(found: list[StandIn]) -> dict[str, Any]:
    return {"suggestions": [one.model.id for one in found]} if found else {}


def _since(model: Model) -> str:
    return f" (ended {model.retire_date})" if model.retire_date else ""
