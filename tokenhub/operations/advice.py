"""What a caller can ask instead of a model that does not answer: only what this key may call (P5, P18, P22)."""

from collections.abc import Callable

from tokenhub.accounts.accounts import Caller
from tokenhub.call import Call
from tokenhub.catalog import siblings
from tokenhub.catalog.models import Deployment, Model
from tokenhub.catalog.siblings import StandIn
from tokenhub.errors import ModelNotFound, PermissionDenied
from tokenhub.operations.planning import Hints
from tokenhub.operations.snapshots import Snapshot
from tokenhub.routing import boundaries
from tokenhub.routing.decision import Decision

Usable = Callable[[Deployment], bool]


def stand_ins(
    snapshot: Snapshot,
    caller: Caller,
    call: Call,
    hints: Hints,
    model: Model,
    *,
    now_ms: int,
    usable: Usable = lambda _: True,
) -> list[StandIn]:
    """Return the models closest to one that this caller may call now, inside every boundary, the closest first.

    They can carry this call, so that it can be sent again with nothing but its model changed.
    ``usable`` leaves out what has just been seen to fail for every model, such as a credential
    that is not accepted.
    """

    def offered(model_id: str) -> list[Deployment]:
        inside = _inside(snapshot, caller, call, hints, model_id, now_ms)
        return [one for one in inside if snapshot.adapter(one, call) is not None and usable(one)]

    return siblings.closest(snapshot.catalog, model, offered, now_ms)


def instead_of(
    snapshot: Snapshot, caller: Caller | None, call: Call | None, hints: Hints, decision: Decision, *, now_ms: int
) -> list[StandIn]:
    """Return what to ask instead of what a decision left without a deployment; none where nobody can be asked."""
    model = snapshot.catalog.models.get(decision.models[0]) if decision.models else None
    if caller is None or call is None or model is None:
        return []
    found = stand_ins(snapshot, caller, call, hints, model, now_ms=now_ms)
    return [one for one in found if one.model.id not in decision.models]


def _inside(
    snapshot: Snapshot, caller: Caller, call: Call, hints: Hints, model_id: str, now_ms: int
) -> list[Deployment]:
    """Return the deployments of a model that lie inside the boundaries of a caller and of its request."""
    try:
        survey = snapshot.survey(model_id, caller)
    except (ModelNotFound, PermissionDenied):
        return []
    chain = (*survey.chain, *hints.chain)
    return [
        entrant.deployment
        for group in survey.groups
        for entrant, card, _ in group.at(now_ms)
        if entrant.exclusion is None
        and boundaries.excluded(entrant.deployment, card, chain, call, lambda _: hints.left_out) is None
    ]
