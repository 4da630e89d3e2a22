"""A route: the deployments a call may use, in order, and why those.

Boundaries first, then availability, then the order (T103): what lies outside is gone before
anything is sorted, and nothing that follows can bring it back. Planned on a snapshot, fixed
when the hold is placed; the hold covers the dearest candidate, so no attempt can cost more
than was set aside (T4).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from tokenhub.call import Call
from tokenhub.catalog.models import Deployment
from tokenhub.catalog.prices import PriceCard
from tokenhub.errors import HubError, InvalidRequest, PermissionDenied, Unavailable
from tokenhub.routing import affinity, boundaries
from tokenhub.routing.boundaries import Chain, Exclusion, Refuses, Scoped, Wishes
from tokenhub.routing.decision import Decision, Runner
from tokenhub.routing.preferences import Preferences
from tokenhub.routing.standing import Availability, Standing
from tokenhub.routing.survey import Entrant, Outside, Survey, Weighed
from tokenhub.values import value

RETRY_DEFAULT_S: Final = 30
"""Retry-After where nothing says when a provider is back."""
NOT_REFUSED: Final = ("circuit_open", "half_open")
"""States in which a deployment may be tried for want of any other: nobody has said no."""


@value
class Candidate:
    """A deployment with the price card that holds for this request (T15)."""

    deployment: Deployment
    card: PriceCard


@value
class Route:
    """What will be tried, first to last, at most three long, and why."""

    candidates: tuple[Candidate, ...]
    decision: Decision
    prompt_cache: bool = False
    """Prompts may be written to a cache that costs extra."""


class NoEligibleProvider(PermissionDenied):
    """Every deployment lies outside the request's boundaries; ``decision`` has each one's reason."""

    def __init__(self, message: str, decision: Decision) -> None:
        super().__init__(message, code="no_eligible_provider", metadata={"excluded": decision.excluded})
        self.decision = decision


class ContextTooLong(InvalidRequest):
    """The request fits into no context that it may use; ``decision`` has each one's reason."""

    def __init__(self, message: str, decision: Decision) -> None:
        metadata = {"excluded": decision.excluded}
        super().__init__(message, code="context_length_exceeded", param="messages", metadata=metadata)
        self.decision = decision


class NoProviderAvailable(Unavailable):
    """Nothing inside the boundaries can be tried now; ``decision`` has each one's state."""

    def __init__(self, message: str, decision: Decision, retry_after_s: int) -> None:
        super().__init__(message, metadata={"excluded": decision.excluded}, retry_after_s=retry_after_s)
        self.decision = decision


def plan(
    call: Call,
    surveys: Sequence[Survey],
    *,
    availability: Availability,
    seed: bytes,
    now_ms: int,
    max_attempts: int,
    request: Preferences | None = None,
    pinned: str | None = None,
    refuses: Refuses | None = None,
    serves: Callable[[Deployment], bool] | None = None,
) -> Route:
    """Return what to try for a call, first to last.

    ``surveys``: the names of the request, its model first, each with the caller's boundaries
    applied; all deployments of a model come before the next model's. ``request``: its own
    preferences. ``seed``: the session, or what stands for it; equal seeds order alike in every process.
    ``pinned``: the deployment that holds a tool loop; it goes first if it is inside the
    boundaries and available, and is never revived otherwise. ``refuses``: asked where some
    scope requires that every field be taken as it is. ``serves``: asked, if given, whether a
    deployment can be called in this request's wire at all.
    Raises NoEligibleProvider (or ContextTooLong) and NoProviderAvailable.
    """
    own: Chain = (Scoped("request", "", request),) if request is not None else ()
    wishes = boundaries.wishes((*surveys[0].chain, *own)) if own else surveys[0].wishes
    listed = {name: place for place, name in enumerate(wishes.order)}
    asked = _Asked(call, own, refuses, serves, availability, now_ms, affinity.session_mark(seed), listed, wishes.sort)
    groups, unwell, outside = _sorted_out(surveys, asked)
    ordered = [one for group in groups for _, run in groupby(group, _wish) for one in _other_providers_first(run)]
    most, why_max = _attempts(wishes, max_attempts)
    by = f"sort:{wishes.sort}" if wishes.sort else "order" if wishes.order else "session"
    if ordered and pinned is not None and (held := [one for one in ordered if one[2].id == pinned]):
        ordered = [*held, *(one for one in ordered if one[2].id != pinned)]
        by = "pin"
    elif not ordered and (last := _last_resort(unwell)):
        ordered, unwell, by = [last], [one for one in unwell if one is not last], "last_resort"
    tried = ordered[:most]
    names = tuple(survey.name for survey in surveys)
    models = surveys[0].models if len(surveys) == 1 else _models(surveys)
    decision = Decision(names, models, by, most, why_max, tried, ordered[most:], unwell, outside)
    if not tried:
        raise _none_available(decision, now_ms) if unwell else _none_eligible(decision)
    return Route(tuple([Candidate(one[2].deployment, one[3]) for one in tried]), decision, wishes.prompt_cache)


def _models(surveys: Sequence[Survey]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(model for survey in surveys for model in survey.models))


def _attempts(wishes: Wishes, max_attempts: int) -> tuple[int, str]:
    """Return the most attempts, and the scope that allows so few."""
    if wishes.max_attempts is not None and wishes.max_attempts < max_attempts:
        return wishes.max_attempts, wishes.limited
    return max_attempts, "" if max_attempts > 1 else "failover_off"


@value
class _Asked:
    """What planning knows of the request."""

    call: Call
    own: Chain
    refuses: Refuses | None
    serves: Callable[[Deployment], bool] | None
    availability: Availability
    now_ms: int
    session: int
    """The mark of the session, by which deployments are drawn."""
    listed: Mapping[str, int]
    """The place of each provider in an explicit order."""
    sort: str | None


def _sorted_out(surveys: Sequence[Survey], asked: _Asked) -> tuple[list[list[Runner]], list[Runner], list[Outside]]:
    """Divide all entrants: inside and available, group by group and in order; inside and not; outside."""
    groups: list[list[Runner]] = []
    unwell: list[Runner] = []
    outside: list[Outside] = []
    seen: set[str] = set()
    single = len(surveys) == 1 and len(surveys[0].groups) == 1
    number = 0
    for survey in surveys:
        limits = bool(asked.own) or survey.limits_price or survey.requires_parameters
        for group in survey.groups:
            lane = group.lane(asked.call, asked.now_ms)
            inside, left = lane.inside, lane.outside
            if not single:
                inside = [one for one in inside if one[0].id not in seen]
                left = [one for one in left if one[0].id not in seen]
                seen.update([one.id for one in group.entrants])
            outside += left
            runners = _runners(inside, survey if limits else None, asked, number, outside)
            number += len(inside)
            runners.sort()
            well = [one for one in runners if one[4].available]
            if len(well) < len(runners):
                unwell += [one for one in runners if not one[4].available]
            groups.append(well)
    return groups, unwell, outside


def _runners(
    inside: Sequence[Weighed], limits: Survey | None, asked: _Asked, number: int, outside: list[Outside]
) -> list[Runner]:
    """Return a group's entrants with their ranks: what is likely too short last, then the wishes, then the session's draw.

    ``limits``: the survey, where the request or its caller's scopes set more than rules; what
    that excludes goes to ``outside``.
    """
    runners: list[Runner] = []
    state, now_ms, size, session = asked.availability.state, asked.now_ms, asked.call.input_bytes, asked.session
    wishes = asked.sort is not None or bool(asked.listed)
    chain = (*limits.chain, *asked.own) if limits is not None else None
    score = affinity.score
    for entrant, card, weight in inside:
        number += 1
        if asked.serves is not None and not asked.serves(entrant.deployment):
            outside.append((entrant, boundaries.by_wire(asked.call)))
            continue
        if chain is not None and (why := _excluded(entrant.deployment, card, chain, asked)):
            outside.append((entrant, why))
            continue
        tight = 0
        if size > entrant.prompt_usual:
            tight = 1
            if size > entrant.prompt_most and (why := boundaries.by_context(entrant.deployment, asked.call)):
                outside.append((entrant, why))
                continue
        standing = state(entrant.id, entrant.credential_id, now_ms)
        drawn = score(entrant.mark, weight, session)
        if wishes:
            place, measured = _wished(entrant, card, standing, asked)
            shown = drawn if asked.sort is None else measured
            runners.append(((tight, place, measured, drawn), number, entrant, card, standing, shown))
        else:
            runners.append(((tight, drawn), number, entrant, card, standing, drawn))
    return runners


def _excluded(deployment: Deployment, card: PriceCard, chain: Chain, asked: _Asked) -> Exclusion | None:
    """Return why a request may not use a deployment that breaks no rule of its caller's scopes."""
    return (
        boundaries.by_rule(deployment, asked.own)
        or boundaries.by_price(deployment, card, chain, asked.call)
        or boundaries.by_parameters(deployment, chain, asked.refuses)
    )


def _wished(entrant: Entrant, card: PriceCard, standing: Standing, asked: _Asked) -> tuple[int, float]:
    """Return an entrant's place in an explicit order, and what a sort goes by."""
    most = len(asked.listed)
    place = min(asked.listed.get(entrant.provider_id, most), asked.listed.get(entrant.place, most))
    return place, _measure(asked.sort, card, standing)


def _measure(sort: str | None, card: PriceCard, standing: Standing) -> float:
    """Return what a sort goes by, the lowest first; what is not measured comes last."""
    if sort == "price":
        return float(card.compared)
    if sort == "latency":
        return math.inf if standing.latency_ms is None else standing.latency_ms
    if sort == "throughput":
        return math.inf if standing.throughput is None else -standing.throughput
    return 0.0


def _wish(one: Runner) -> tuple[float, ...]:
    """Return what an explicit order or sort says of a runner: the middle of its rank, nothing where neither is set."""
    return one[0][1:-1]


def _other_providers_first(group: Iterable[Runner]) -> list[Runner]:
    """Put a provider's second deployment behind every other provider's first: its faults are often its own.

    ``group``: those between whom no wish decides.
    """
    turns: dict[str, int] = {}
    rounds: list[list[Runner]] = [[]]
    for one in group:
        provider = one[2].provider_id
        turn = turns.get(provider, 0)
        turns[provider] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(one)
    return [one for turn in rounds for one in turn]


def _last_resort(unwell: Sequence[Runner]) -> Runner | None:
    """Return the one to try although its circuit is open: the first in order; never a throttled or refused credential."""
    return next((one for one in unwell if one[4].code in NOT_REFUSED), None)


# Refusals ------------------------------------------------------------------------------------------


def _none_eligible(decision: Decision) -> HubError:
    asked = decision.asked[0]
    codes = {one.exclusion.code for one in decision.considered if one.exclusion}
    if not codes:
        return NoProviderAvailable(
            f"No provider with a working credential offers {asked!r} here; "
            "the operator can add one with 'tokenhub credentials add'.",
            decision,
            60,
        )
    if codes == {"context_too_short"}:
        return ContextTooLong(f"This request is longer than the context of {asked!r}; shorten it.", decision)
    return NoEligibleProvider(
        f"No deployment of {asked!r} lies inside the boundaries of this request; metadata.excluded has each one's reason.",
        decision,
    )


def _none_available(decision: Decision, now_ms: int) -> HubError:
    known = [one.standing.retry_at_ms for one in decision.considered if one.standing.retry_at_ms]
    wait_s = max(1, math.ceil((min(known) - now_ms) / 1000)) if known else RETRY_DEFAULT_S
    return NoProviderAvailable(
        f"Every deployment of {decision.asked[0]!r} inside the boundaries of this request is out at present; try again in {wait_s} s.",
        decision,
        wait_s,
    )
