"""A model's endpoints as OpenRouter's ``/models/{id}/endpoints`` shows them: one for each provider and region."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tokenhub.catalog import listing
from tokenhub.catalog.models import Deployment

Measured = Mapping[str, Any]
"""``uptime_last_5m``, ``_30m``, ``_1d`` in percent, ``latency_last_30m`` in ms and ``throughput_last_30m`` as percentiles; ``status``."""

UNMEASURED: Final[Measured] = {
    "status": 0,
    "uptime_last_5m": None,
    "uptime_last_30m": None,
    "uptime_last_1d": None,
    "latency_last_30m": None,
    "throughput_last_30m": None,
}


def describe(
    name: str, deployments: Sequence[Deployment], measured: Mapping[tuple[str, str, str], Measured], now_ms: int
) -> dict[str, Any]:
    """Describe the places that can serve a name; ``measured`` by provider, region and model. At least one deployment."""
    whole = listing.describe(deployments[0].model, deployments, now_ms)
    places: dict[tuple[str, str, str], list[Deployment]] = {}
    for one in deployments:
        places.setdefault((one.provider.id, one.region.id, one.model.id), []).append(one)
    return {
        "id": name,
        "name": whole["name"],
        "created": whole["created"],
        "description": whole["description"],
        "architecture": whole["architecture"],
        "endpoints": [_endpoint(ones, measured.get(place, UNMEASURED), now_ms) for place, ones in places.items()],
    }


def _endpoint(ones: Sequence[Deployment], measured: Measured, now_ms: int) -> dict[str, Any]:
    one = ones[0]
    shown = listing.describe(one.model, ones, now_ms)
    prices = one.prices.at(now_ms).rates
    return {
        "name": f"{one.provider.name} | {one.model.id}",
        "model_id": one.model.id,
        "model_name": one.model.name,
        "context_length": one.context,
        "pricing": shown["pricing"],
        "provider_name": one.provider.name,
        "tag": f"{one.provider.id}@{one.region.id}",
        "quantization": None,
        "max_completion_tokens": one.max_output,
        "max_prompt_tokens": None,
        "supported_parameters": shown["supported_parameters"],
        "supports_implicit_caching": prices.cache_read < prices.input,
        "region": one.region.id,
        "data_region": one.region.data_region,
        "lifecycle": str(one.offering.lifecycle),
        **measured,
    }
