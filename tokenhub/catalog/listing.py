"""A model as ``GET /v1/models`` shows it: OpenAI's four fields, OpenRouter's beside them, and where it runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenhub.call import Capability
from tokenhub.catalog.models import Deployment, Model
from tokenhub.catalog.prices import PriceCard, Rates
from tokenhub.money import exact_price

_TOKEN_PRICES: Mapping[str, str] = {
    "prompt": "input",
    "completion": "output",
    "input_cache_read": "cache_read",
    "input_cache_write": "cache_write",
    "input_cache_write_1h": "cache_write_1h",
    "audio": "audio_input",
    "image": "image_input",
    "image_output": "image_output",
    "internal_reasoning": "output_thinking",
}
"""OpenRouter's names of prices to rates."""
_CHAT_PARAMETERS = ("max_completion_tokens", "max_tokens", "n", "seed", "stop", "stream", "stream_options")


def describe(model: Model, deployments: Sequence[Deployment], now_ms: int) -> dict[str, Any]:
    """Describe a model that these deployments, at least one, can serve; prices are those of the cheapest, now."""
    priced = [(one, one.prices.at(now_ms)) for one in deployments]
    first, card = min(priced, key=lambda pair: (pair[1].compared, pair[0].id))
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owner or first.provider.id,
        "canonical_slug": model.id,
        "name": model.name,
        "description": model.note,
        "capability": str(model.capability),
        "context_length": first.context,
        "architecture": _architecture(model),
        "pricing": prices_of(card),
        "top_provider": {
            "context_length": first.context,
            "max_completion_tokens": first.max_output,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": list(_parameters(model, deployments)),
        "providers": _providers(priced),
        "aliases": list(model.aliases),
        "lifecycle": str(model.lifecycle),
        "expiration_date": model.retire_date,
    }


def prices_of(card: PriceCard) -> dict[str, Any]:
    """Return a card's prices as exact decimal strings, USD per token or unit; ``overrides`` are its tiers."""
    shown: dict[str, Any] = _shown(card.rates)
    shown.update({name.replace(" ", "_"): exact_price(price) for name, price in sorted(card.units.items())})
    if card.tiers:
        shown["overrides"] = [{"min_prompt_tokens": above + 1, **_shown(rates)} for above, rates in card.tiers]
    return shown


def _shown(rates: Rates) -> dict[str, str]:
    stated = rates.stated
    return {name: exact_price(getattr(rates, rate)) for name, rate in _TOKEN_PRICES.items() if rate in stated}


def _architecture(model: Model) -> dict[str, Any]:
    inputs, outputs = list(model.input_modalities), list(model.output_modalities)
    return {
        "modality": f"{'+'.join(inputs)}->{'+'.join(outputs)}",
        "input_modalities": inputs,
        "output_modalities": outputs,
        "tokenizer": None,
        "instruct_type": None,
    }


def _parameters(model: Model, deployments: Sequence[Deployment]) -> tuple[str, ...]:
    """Name the request fields that some deployment of a model takes."""
    if model.capability is Capability.EMBEDDINGS:
        return ("dimensions", "encoding_format")
    if model.capability is not Capability.CHAT:
        return ()
    traits = model.traits
    schema = any("json_schema" in one.provider.quirks["response_formats"] for one in deployments)
    groups = (
        (True, _CHAT_PARAMETERS),
        (traits["tools"], ("parallel_tool_calls", "tool_choice", "tools")),
        (True, ("response_format",)),
        (traits["json_schema"] and schema, ("structured_outputs",)),
        (traits["sampling"], ("temperature", "top_p")),
        (traits["reasoning"], ("reasoning_effort",)),
    )
    return tuple(sorted(name for given, names in groups if given for name in names))


def _providers(priced: Sequence[tuple[Deployment, PriceCard]]) -> list[dict[str, Any]]:
    """Return each provider and region once, with its price and limits there."""
    places: dict[str, dict[str, Any]] = {}
    for one, card in priced:
        place = f"{one.provider.id}/{one.model.id}@{one.region.id}"
        places.setdefault(
            place,
            {
                "id": place,
                "provider": one.provider.id,
                "name": one.provider.name,
                "region": one.region.id,
                "data_region": one.region.data_region,
                "context_length": one.context,
                "max_completion_tokens": one.max_output,
                "pricing": prices_of(card),
                "lifecycle": str(one.offering.lifecycle),
            },
        )
    return list(places.values())
