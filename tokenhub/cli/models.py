"""``tokenhub models``: what can be called, and at what price."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import money
from tokenhub.call import Capability
from tokenhub.cli import render, values
from tokenhub.cli.context import Door, command, noun
from tokenhub.cli.render import Column

if TYPE_CHECKING:
    from tokenhub.catalog.prices import PriceCard
    from tokenhub.operations.models import ModelState, Place

app = noun("models")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Any of its names: deepseek-v3.2, alibaba/deepseek-v3.2, a dated one.")
]
CAPABILITIES = tuple(capability.value for capability in Capability)

COLUMNS = (
    Column("id", "Model"),
    Column("capability", "Does"),
    Column("context_tokens", "Context", right=True),
    Column("input_price", "Input, $/M", right=True),
    Column("output_price", "Output, $/M", right=True),
    Column("unit_prices", "Other units, $", right=True),
    Column("providers", "Providers"),
    Column("lifecycle", "Lifecycle"),
)
FIELDS = (
    Column("id", "Model"),
    Column("name", "Name"),
    Column("capability", "Does"),
    Column("family", "Family"),
    Column("lifecycle", "Lifecycle"),
    Column("retire_date", "Ends"),
    Column("context_tokens", "Context"),
    Column("max_output_tokens", "Longest output"),
    Column("input_modalities", "Reads"),
    Column("output_modalities", "Writes"),
    Column("aliases", "Also called"),
)
PLACE_COLUMNS = (
    Column("provider", "Provider"),
    Column("region", "Region"),
    Column("data_region", "Runs in"),
    Column("upstream_id", "Called there"),
    Column("prices", "USD per million tokens"),
    Column("unit_prices", "USD per other unit"),
    Column("usable", "Credential"),
    Column("source", "Source"),
)
_BUCKETS = {
    "input": "input",
    "output": "output",
    "cached_input": "cache_read",
    "cache_write": "cache_write",
    "cache_write_1h": "cache_write_1h",
    "audio_input": "audio_input",
    "image_input": "image_input",
    "image_output": "image_output",
    "output_thinking": "output_thinking",
}
"""Option and field names of prices, to the rates of a price card."""


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


def _place_row(place: "Place") -> dict[str, Any]:
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
    }


def card_prices(card: "PriceCard") -> dict[str, str]:
    """Return the prices of a card that say something: input, output, and what differs from them."""
    rates = {name: getattr(card.rates, field) for name, field in _BUCKETS.items()}
    usual = {"cached_input": "input", "cache_write": "input", "cache_write_1h": "cache_write", "audio_input": "input",
             "image_input": "input", "image_output": "output", "output_thinking": "output"}  # fmt: skip
    stated = {name: rate for name, rate in rates.items() if name not in usual or rate != rates[usual[name]]}
    return {**{name: per_million(rate) for name, rate in stated.items()}, **unit_prices(card)}


def unit_prices(card: "PriceCard") -> dict[str, str]:
    """Return the USD of one second, character, image, search or video, where a card prices these."""
    return {name: money.exact_price(price) for name, price in card.units.items()}


def _price_order(card: "PriceCard") -> tuple[int, int, int]:
    return card.rates.input, card.rates.output, card.compared


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as people read it: what is sold by the second has no price a token, which is not a price of 0."""
    units = row["unit_prices"]
    told: dict[str, Any] = {"unit_prices": "; ".join(f"{price}/{name}" for name, price in units.items()) or None}
    if not units:
        return {**row, **told}
    if "prices" in row:
        told["prices"] = {
            name: price for name, price in row["prices"].items() if name not in units and price != "0"
        } or None
    told |= {name: None for name in ("input_price", "output_price") if row.get(name) == "0"}
    return {**row, **told}


def per_million(atto: int) -> str:
    """Render a unit price as USD per million units, exactly."""
    return money.exact_price(atto * 10**6)


@command(
    app,
    "list",
    examples=[
        "tokenhub models list",
        "tokenhub models list --all --provider openai",
        "tokenhub models list --capability embeddings",
        "tokenhub models list --region eu",
    ],
)
def list_(
    door: Door,
    every: Annotated[bool, typer.Option("--all", help="Also what no credential of yours opens, and retired models.")] = False,
    provider: Annotated[str | None, typer.Option("--provider", metavar="P", help="Only what this provider offers.", show_default=False)] = None,
    capability: Annotated[
        Any,
        typer.Option(
            "--capability", metavar="|".join(CAPABILITIES), parser=values.one_of(*CAPABILITIES), help="Only what does this.", show_default=False
        ),
    ] = None,
    region: Annotated[str | None, typer.Option("--region", metavar="R", help="Only what is certain to run there: eu, us, cn, self-hosted.", show_default=False)] = None,
) -> None:  # fmt: skip
    """List the models that can be called, with their lowest price in USD per million tokens."""
    from tokenhub.operations import models

    states = models.listing(
        door.hub,
        every=every,
        provider=provider,
        capability=Capability(capability) if capability else None,
        region=region,
    )
    empty = "No model can be called yet. Add a key: tokenhub credentials add PROVIDER; or see all with --all"
    if provider or capability or region:
        empty = (
            "No model matches." if every else "No model that can be called matches; those that no key opens yet: --all."
        )
    rows = [row(state) for state in states]
    shown = rows if door.as_json else [_shown(one) for one in rows]
    columns = [column for column in COLUMNS if column.field != "unit_prices" or render.used(shown, [column])]
    door.rows(shown, columns, empty=empty)


@command(app, examples=["tokenhub models show deepseek-v3.2", "tokenhub models show gpt-4o --json"])
def show(door: Door, name: Name) -> None:
    """Show a model: who offers it, where it runs, at what price."""
    from tokenhub.operations import models

    state = models.show(door.hub, name)
    places = [_place_row(place) for place in state.places]
    door.record({**row(state), "places": places} if door.as_json else row(state), FIELDS)
    if not door.as_json and places:
        render.print_blank()
        shown = [_shown(place) for place in places]
        render.print_table(shown, render.used(shown, PLACE_COLUMNS))


def _price_option(name: str, what: str) -> Any:
    return typer.Option(f"--{name}", metavar="USD", parser=_decimal, help=f"Per million {what}.", show_default=False)


def _decimal(text: str) -> str:
    money.parse_price_per_million(text)
    return text


@command(
    app,
    examples=[
        "tokenhub models price gpt-4o --provider openai --input 2.50 --output 10 --cached-input 1.25",
        "tokenhub models price alibaba/qwen-max --input 1.20 --output 6 --region ap-southeast-1",
        "tokenhub models price gpt-4o --provider openai --reset",
    ],
)
def price(
    door: Door,
    name: Name,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider", metavar="P", help="At which provider; not needed when only one offers it.", show_default=False
        ),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="R", help="Only in this region. Else in all.", show_default=False)
    ] = None,
    input: Annotated[Any, _price_option("input", "prompt tokens")] = None,
    output: Annotated[Any, _price_option("output", "generated tokens")] = None,
    cached_input: Annotated[
        Any, _price_option("cached-input", "prompt tokens read from a cache; else as --input")
    ] = None,
    cache_write: Annotated[
        Any, _price_option("cache-write", "prompt tokens written to a cache; else as --input")
    ] = None,
    cache_write_1h: Annotated[
        Any, _price_option("cache-write-1h", "tokens written to a one-hour cache; else as --cache-write")
    ] = None,
    audio_input: Annotated[Any, _price_option("audio-input", "audio tokens; else as --input")] = None,
    image_input: Annotated[Any, _price_option("image-input", "image tokens; else as --input")] = None,
    image_output: Annotated[Any, _price_option("image-output", "generated image tokens; else as --output")] = None,
    output_thinking: Annotated[
        Any, _price_option("output-thinking", "generated tokens of a reply that reasoned; else as --output")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the shipped prices.")] = False,
) -> None:
    """Set your own price of a model at a provider, in USD per million tokens. It replaces all its prices there, tiers too."""
    from tokenhub.operations import models

    if reset:
        state = models.reset_price(door.hub, name, provider=provider, region=region)
    else:
        prices = values.changes(
            input=input, output=output, cached_input=cached_input, cache_write=cache_write, cache_write_1h=cache_write_1h,
            audio_input=audio_input, image_input=image_input, image_output=image_output, output_thinking=output_thinking,
        )  # fmt: skip
        state = models.price(door.hub, name, prices, provider=provider, region=region)
    places = [_place_row(place) for place in state.places]
    door.done({**row(state), "places": places}, f"The next request to {state.model.id} is charged at the new price.")
