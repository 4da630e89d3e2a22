"""``tokenhub models``: what can be called, and at what price."""

from typing import Annotated, Any

import typer

from tokenhub.call import Capability
from tokenhub.cli import models_own, price_options, tables, values
from tokenhub.cli.context import Door, command, noun
from tokenhub.cli.model_rows import place_row, row
from tokenhub.cli.tables import Column

app = noun("models")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Any of its names: deepseek-v3.2, alibaba/deepseek-v3.2, a dated one.")
]
CAPABILITIES = tuple(capability.value for capability in Capability)

COLUMNS = (
    Column("id", "Model"),
    Column("capability", "Does", spare=True),
    Column("context_tokens", "Context", right=True, spare=True),
    Column("input_price", "Input, $/M", right=True),
    Column("output_price", "Output, $/M", right=True),
    Column("unit_prices", "Other units, $", right=True),
    Column("providers", "Providers", spare=True),
    Column("lifecycle", "Lifecycle", spare=True),
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
    Column("data_region", "Runs in", spare=True),
    Column("upstream_id", "Called there", spare=True),
    Column("prices", "USD per million tokens"),
    Column("unit_prices", "USD per other unit"),
    Column("usable", "Credential"),
    Column("source", "Source", spare=True),
)


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
    columns = [column for column in COLUMNS if column.field != "unit_prices" or tables.used(shown, [column])]
    door.rows(shown, columns, empty=empty)


@command(app, examples=["tokenhub models show deepseek-v3.2", "tokenhub models show gpt-4o --json"])
def show(door: Door, name: Name) -> None:
    """Show a model: who offers it, where it runs, at what price."""
    from tokenhub.operations import models

    state = models.show(door.hub, name)
    places = [place_row(place) for place in state.places]
    door.record({**row(state), "places": places} if door.as_json else row(state), FIELDS)
    if not door.as_json:
        shown = [_shown(place) for place in places]
        tables.print_below(shown, tables.used(shown, PLACE_COLUMNS))


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
    input: price_options.Input = None,
    output: price_options.Output = None,
    cached_input: price_options.CachedInput = None,
    cache_write: price_options.CacheWrite = None,
    cache_write_1h: price_options.CacheWrite1h = None,
    audio_input: price_options.AudioInput = None,
    image_input: price_options.ImageInput = None,
    image_output: price_options.ImageOutput = None,
    output_thinking: price_options.OutputThinking = None,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the shipped prices.")] = False,
) -> None:
    """Set your own price of a model at a provider, in USD per million tokens. It replaces all its prices there, tiers too."""
    from tokenhub.operations import models

    prices = values.changes(
        input=input, output=output, cached_input=cached_input, cache_write=cache_write, cache_write_1h=cache_write_1h,
        audio_input=audio_input, image_input=image_input, image_output=image_output, output_thinking=output_thinking,
    )  # fmt: skip
    if reset:
        values.alone("--reset", values.option_names(prices))
        state = models.reset_price(door.hub, name, provider=provider, region=region)
    else:
        state = models.price(door.hub, name, prices, provider=provider, region=region)
    places = [place_row(place) for place in state.places]
    said = f"The next request to {state.model.id} is charged at the new price."
    door.done(
        {**row(state), "places": places},
        *(
            _shipped(state.model.id, [one for one in places if provider in (None, one["provider"])])
            if reset
            else (said,)
        ),
    )


def _shipped(name: str, places: list[dict[str, Any]]) -> list[str]:
    """Say what a model costs now that the catalogue's prices hold again."""
    regions: dict[tuple[str, str], list[str]] = {}
    for one in places:
        prices = ", ".join(f"{rate.replace('_', ' ')} {price}" for rate, price in one["prices"].items())
        regions.setdefault((one["provider"], prices), []).append(one["region"])
    return [
        f"The catalogue's prices of {name} at {seller} ({', '.join(where)}) hold again, in USD per million tokens: {prices}."
        for (seller, prices), where in regions.items()
    ]


command(app, "add", examples=models_own.ADD_EXAMPLES)(models_own.add)
command(app, "remove", examples=models_own.REMOVE_EXAMPLES)(models_own.remove)
