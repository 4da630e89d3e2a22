"""Random catalogues, boundaries, faults and requests: nothing outside is ever planned, and the order is as stated (T103)."""

import math
from functools import cached_property
from itertools import groupby
from typing import Any

import pytest

from tests.fakes.chains import SOAK
from tests.routing import oracle
from tests.routing.made import NOW_MS, Dice, Standings, surveyed
from tokenhub.routing import preferences, route
from tokenhub.routing.boundaries import Chain, Scoped
from tokenhub.routing.decision import EXCLUDED, SPARE, TRY, UNAVAILABLE, Decision
from tokenhub.routing.route import ContextTooLong, NoEligibleProvider, NoProviderAvailable, Route
from tokenhub.routing.standing import Standing

CASES = 100_000 if SOAK else 10_200
PARTS = 12
Refused = NoEligibleProvider | ContextTooLong | NoProviderAvailable
SCOPES = ("installation", "plan", "account", "key")


class Case:
    """One random case, and what must be true of its plan."""

    def __init__(self, seed: int) -> None:
        dice = Dice(seed)
        self.groups = dice.groups()
        self.call = dice.call()
        self.scopes = {name: dice.preferences() for name in SCOPES if dice.random.random() < 0.5}
        self.own = dice.preferences(of_request=True) if dice.random.random() < 0.5 else {}
        self.all = {one.id: one for group in self.groups for one in group}
        self.standings = {one: dice.standing() for one in self.all if dice.random.random() < 0.6}
        self.pinned = dice.random.choice([None, "gone/one@eu#1", *self.all]) if self.all else None
        self.most = dice.random.choice((1, 2, 3, 3, 3))
        self.seed = dice.random.randbytes(16)

    @property
    def chain(self) -> Chain:
        return tuple(Scoped(name, "", preferences.parse(self.scopes[name])) for name in SCOPES if name in self.scopes)

    def planned(self) -> Route:
        own = preferences.parse(self.own)
        return route.plan(
            self.call,
            [surveyed(self.groups, self.chain)],
            availability=Standings(self.standings),
            seed=self.seed,
            now_ms=NOW_MS,
            max_attempts=self.most,
            request=None if own.is_empty else own,
            pinned=self.pinned,
        )

    def outcome(self) -> Route | Refused:
        try:
            return self.planned()
        except (NoEligibleProvider, ContextTooLong, NoProviderAvailable) as refusal:
            return refusal

    @cached_property
    def reasons(self) -> dict[str, set[str]]:
        """By deployment: everything that excludes it."""
        scopes = [*self.scopes.values(), self.own]
        return {name: oracle.reasons(one, scopes, self.call) for name, one in self.all.items()}

    def standing(self, name: str) -> Standing:
        return self.standings.get(name, Standing())

    @cached_property
    def inside(self) -> list[str]:
        return [name for name, why in self.reasons.items() if not why]

    @property
    def attempts(self) -> int:
        stated = [self.most]
        for scope in (*self.scopes.values(), self.own):
            stated.append(scope.get("max_attempts", 3))
            stated.append(1 if scope.get("failover") is False else 3)
        return min(stated)

    @property
    def wish(self) -> dict[str, Any]:
        """The order or sort of the innermost scope that states one."""
        for scope in (self.own, *(self.scopes[name] for name in reversed(SCOPES) if name in self.scopes)):
            if "order" in scope or "sort" in scope:
                return scope
        return {}


def names(decision: Decision, *verdicts: str) -> list[str]:
    return [one.id for one in decision.considered if one.verdict in verdicts]


def check_decision(case: Case, decision: Decision) -> None:
    """Every deployment is accounted for once, with a reason that holds."""
    considered = [one.id for one in decision.considered]
    assert sorted(considered) == sorted(case.all)
    for one in decision.considered:
        why = case.reasons[one.id]
        if one.verdict == EXCLUDED:
            assert one.exclusion is not None
            assert one.exclusion.code in why
        else:
            assert not why
        if one.verdict == UNAVAILABLE:
            assert not case.standing(one.id).available
    assert decision.max_attempts == case.attempts


def check_order(case: Case, found: Route, well: list[str]) -> None:
    """The pinned one first, models in their order, wishes within a model, other providers before the same again."""
    ordered = names(found.decision, TRY, SPARE)
    if case.pinned in well:
        assert ordered[0] == case.pinned
        assert found.decision.by == "pin"
        ordered.remove(case.pinned)
        well = [name for name in well if name != case.pinned]
    assert sorted(ordered) == sorted(well)
    group_of = {one.id: place for place, group in enumerate(case.groups) for one in group}
    assert [group_of[name] for name in ordered] == sorted(group_of[name] for name in ordered)
    if found.decision.by == "pin":  # its provider's turn is taken: the rest is checked where nothing is pinned
        return
    for place in range(len(case.groups)):
        check_group(case, [name for name in ordered if group_of[name] == place])


def check_group(case: Case, group: list[str]) -> None:
    """Within a model: by the wish; of those it leaves equal, a provider's first deployments, then the second ones."""
    turns: list[int] = []
    seen: dict[tuple[int, str], int] = {}
    by_rank = sorted(group, key=lambda name: case_rank(case, name))
    runs = [list(names) for _, names in groupby(by_rank, key=lambda name: case_rank(case, name)[1:])]
    run_of = {name: number for number, run in enumerate(runs) for name in run}
    assert [run_of[name] for name in group] == sorted(run_of.values())
    for name in group:
        at = (run_of[name], case.all[name].provider.id)
        seen[at] = seen.get(at, -1) + 1
        turns.append(seen[at])
    places = [(run_of[name], turn) for name, turn in zip(group, turns, strict=True)]
    assert places == sorted(places)
    for place in set(places):
        ranks = [case_rank(case, name) for name, at in zip(group, places, strict=True) if at == place]
        assert ranks == sorted(ranks)


def case_rank(case: Case, name: str) -> tuple[float, float, float]:
    one, wish, standing = case.all[name], case.wish, case.standing(name)
    tight = float(bool(one.context) and case.call.input_bytes > 4 * (one.context or 0))
    listed = wish.get("order", [])
    wanted = [listed.index(it) for it in (one.provider.id, f"{one.provider.id}@{one.region.id}") if it in listed]
    place = min(wanted, default=len(listed))
    rates = one.prices.periods[0].card.rates
    measured = {
        None: 0.0,
        "price": float(3 * rates.input + rates.output),
        "latency": math.inf if standing.latency_ms is None else standing.latency_ms,
        "throughput": math.inf if standing.throughput is None else -standing.throughput,
    }[wish.get("sort")]
    return tight, place, measured


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_t103_nothing_outside_the_boundary_is_planned_and_the_order_is_as_stated(part: int) -> None:
    seen = {"planned": 0, "last_resort": 0, "refused": 0, "unavailable": 0, "pin": 0}
    for seed in range(part, CASES, PARTS):
        case = Case(seed)
        well = [name for name in case.inside if case.standing(name).available]
        weak = [name for name in case.inside if case.standing(name).code in ("circuit_open", "half_open")]
        found = case.outcome()
        check_decision(case, found.decision)
        if isinstance(found, NoEligibleProvider | ContextTooLong):
            assert not case.inside
            assert case.all
            too_long = all(why == {"context_too_short"} for why in case.reasons.values())
            assert isinstance(found, ContextTooLong) or not too_long
            seen["refused"] += 1
        elif isinstance(found, NoProviderAvailable):
            assert not well
            assert not weak
            assert bool(case.all) == bool(case.inside)
            assert 1 <= (found.retry_after_s or 0) <= 90
            seen["unavailable"] += 1
        else:
            tried = [one.deployment.id for one in found.candidates]
            assert set(tried) <= set(case.inside)
            assert len(set(tried)) == len(tried) <= case.attempts <= 3
            assert tried == names(found.decision, TRY)
            if well:
                assert set(tried) <= set(well)
                assert len(tried) == min(len(well), case.attempts)
                check_order(case, found, well)
                seen["pin"] += found.decision.by == "pin"
            else:
                assert len(tried) == 1
                assert tried[0] in weak
                seen["last_resort"] += 1
            seen["planned"] += 1
    assert min(seen.values()) > CASES / PARTS / 500, seen  # every kind of case was met


def test_equal_requests_are_planned_alike_and_an_excluded_deployment_is_never_revived() -> None:
    revived = 0
    for seed in range(CASES // PARTS):
        case = Case(seed)
        first, second = case.outcome(), case.outcome()
        assert first.decision.dump() == second.decision.dump()
        if isinstance(first, Route) and case.pinned in case.all and case.pinned not in case.inside:
            assert case.pinned not in [one.deployment.id for one in first.candidates]
            revived += 1
    assert revived > CASES / PARTS / 50
