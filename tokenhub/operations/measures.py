"""How well places serve, as key holders are shown it: rates and times of all traffic together, of nobody's in particular."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tokenhub.catalog.models import Deployment
from tokenhub.routing import health
from tokenhub.routing.health import MINUTE_MS, Tally
from tokenhub.routing.standing import Availability
from tokenhub.store import health as store
from tokenhub.store.database import Database

_SHARES: Final = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99}
_UP: Final = 0
_DEGRADED: Final = -2
_DOWN: Final = -5
"""OpenRouter's numbers for an endpoint that is asked less, and not at all."""

Place = tuple[str, str, str]
"""Provider, region, model."""


def of_places(
    database: Database, deployments: Sequence[Deployment], availability: Availability, now_ms: int
) -> dict[Place, Mapping[str, Any]]:
    """Return what is measured of each place; a place's credentials are added up, and one that is up is enough."""
    names = sorted({one.id for one in deployments})
    spans = {
        5: store.counts(database, names, now_ms - 5 * MINUTE_MS),
        30: store.of(database, names, now_ms - 30 * MINUTE_MS),
        1440: store.counts(database, names, now_ms - 1440 * MINUTE_MS),
    }
    places: dict[Place, list[Deployment]] = {}
    for one in deployments:
        places.setdefault((one.provider.id, one.region.id, one.model.id), []).append(one)
    return {place: _measured(ones, spans, _is_up(ones, availability, now_ms)) for place, ones in places.items()}


def _is_up(ones: Sequence[Deployment], availability: Availability, now_ms: int) -> bool:
    return any(availability.state(one.id, one.credential.id, now_ms).available for one in ones)


def _measured(ones: Sequence[Deployment], spans: Mapping[int, Mapping[str, Tally]], up: bool) -> Mapping[str, Any]:
    def over(minutes: int) -> Tally:
        return health.together(spans[minutes][one.id] for one in ones if one.id in spans[minutes])

    lately = over(30)
    rate = over(5).success_rate
    return {
        "status": _DOWN if not up else _DEGRADED if rate is not None and rate < 0.5 else _UP,
        "uptime_last_5m": _percent(rate),
        "uptime_last_30m": _percent(lately.success_rate),
        "uptime_last_1d": _percent(over(1440).success_rate),
        "latency_last_30m": _percentiles(lately.latencies, lately.percentile_ms),
        "throughput_last_30m": _percentiles(lately.speeds, lately.throughput),
    }


def _percent(rate: float | None) -> float | None:
    return None if rate is None else round(100 * rate, 2)


def _percentiles(counted: Mapping[int, int], at: Any) -> dict[str, float] | None:
    return {name: at(share) for name, share in _SHARES.items()} if counted else None
