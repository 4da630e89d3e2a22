"""A model as commands show it: what it is, who offers it, and its prices."""

from typing import TYPE_CHECKING, Any

from tokenhub import money

if TYPE_CHECKING:
    from tokenhub.catalog.prices import PriceCard
    from tokenhub.operations.models import ModelState, Place


def row(state: "ModelState") -> dict[str, Any]:
    """Return a model as it is shown in a list: with its lowest price."""
    model = state.model
    cheapest = min((place.card for place in state.places), key=_price_order, default=None)
    return {
        "id": model.id,
        "name": model.name,
        "capability": model.capability.value,
        "family": model.family,
        "lifecycle": model.lifecycle.value,
        "retire_date": model.retire_date,
        "context_tokens": model.context,
        "max_output_tokens": model.max_output,
        "input_modalities": list(model.input_modalities),
        "output_modalities": list(model.output_modalities),
        "input_price": None if cheapest is None else per_million(cheapest.rates.input),
        "output_price": None if cheapest is None else per_million(cheapest.rates.output),
        "unit_prices": {} if cheapest is None else unit_prices(cheapest),
        "providers": list(dict.fromkeys(place.endpoint.provider.id for place in state.places)),
        "usable": state.usable,
        "aliases": list(model.aliases),
    }


def place_row(place: "Place") -> dict[str, Any]:
    """Return one place of a model as it is shown: provider, region, prices."""
    endpoint = place.endpoint
    return {
        "provider": endpoint.provider.id,
        "region": endpoint.region.id,
        "data_region": endpoint.region.data_region,
        "upstream_id": endpoint.offering.upstream_id,
        "prices": card_prices(place.card),
        "unit_prices": unit_prices(place.card),
        "tiers": [
            {"above_prompt_tokens": above, "input": per_million(rates.input), "output": per_million(rates.output)}
            for above, rates in place.card.tiers
        ],
        "lifecycle": endpoint.offering.lifecycle.value,
        "usable": place.usable,
        "source": endpoint.offering.source,
        "source_date": endpoint.offering.source_date,
        "confidence": endpoint.offering.confidence,
    }


def card_prices(card: "PriceCard") -> dict[str, str]:
    """Return the prices of a card that say something: input, output, and what differs from them."""
    from tokenhub.catalog.price_tables import RATES

    stated = card.rates.stated
    prices = {name: per_million(getattr(card.rates, rate)) for name, rate in RATES.items() if rate in stated}
    return {**prices, **unit_prices(card)}


def unit_prices(card: "PriceCard") -> dict[str, str]:
    """Return the USD of one second, character, image, search or video, where a card prices these."""
    return {name: money.exact_price(price) for name, price in card.units.items()}


def _price_order(card: "PriceCard") -> tuple[int, int, int]:
    return card.rates.input, card.rates.output, card.compared


def per_million(atto: int) -> str:
    """Render a unit price as USD per million units, exactly."""
    return money.exact_price(atto * 10**6)
