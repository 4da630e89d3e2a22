"""A route: the deployments a call may use, in order.

Planned on a snapshot, fixed when the hold is placed. The hold covers its dearest candidate,
so no attempt can cost more than was set aside (T4).
"""

from collections.abc import Sequence

from tokenhub.catalog import resolve
from tokenhub.catalog.models import Deployment
from tokenhub.catalog.prices import PriceCard
from tokenhub.values import value


@value
class Candidate:
    """A deployment with the price card that holds for this request (T15)."""

    deployment: Deployment
    card: PriceCard


@value
class Route:
    """What will be tried, first to last, at most ``max_attempts`` long."""

    candidates: tuple[Candidate, ...]


def plan(groups: Sequence[Sequence[Deployment]], *, seed: bytes, now_ms: int, max_attempts: int) -> Route:
    """Order the deployments of each group by weight, other providers first, and take the first few.

    A group is one model name's deployments; the groups of a plan's own model name are tried
    in their order. Within a group the draw is by weight and seed, so that load is spread.
    """
    ordered: list[Deployment] = []
    for group in groups:
        drawn = group if len(group) < 2 else resolve.order_by_weight(group, seed)
        ordered += _other_providers_first(drawn)
        if len(ordered) >= max_attempts:
            break
    return Route(tuple(Candidate(one, one.prices.at(now_ms)) for one in ordered[:max_attempts]))


def _other_providers_first(drawn: Sequence[Deployment]) -> list[Deployment]:
    """Put a provider's second deployment behind every other provider's first: its faults are often its own."""
    rounds: list[list[Deployment]] = []
    seen: dict[str, int] = {}
    for one in drawn:
        turn = seen.get(one.provider.id, 0)
        seen[one.provider.id] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(one)
    return [one for turn in rounds for one in turn]
