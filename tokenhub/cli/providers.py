"""``tokenhub providers``: companies and servers that can be called."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import money
from tokenhub.catalog import data_policy
from tokenhub.cli import render, values
from tokenhub.cli.context import Door, Yes, command, noun
from tokenhub.cli.tables import Column
from tokenhub.errors import InvalidRequest

if TYPE_CHECKING:
    from tokenhub.operations.own_models import OwnModel
    from tokenhub.operations.providers import ProviderState

app = noun("providers")

COLUMNS = (
    Column("id", "Id"),
    Column("name", "Name"),
    Column("regions", "Regions", spare=True),
    Column("models", "Models", right=True),
    Column("credentials", "Credentials", right=True),
    Column("own", "Your own", spare=True),
)


def row(state: "ProviderState") -> dict[str, Any]:
    """Return a provider as it is shown."""
    provider = state.provider
    return {
        "id": provider.id,
        "name": provider.name,
        "regions": list(provider.regions),
        "models": state.models,
        "credentials": state.credentials,
        "own": provider.custom,
        "base_urls": {region.id: region.base_url for region in provider.regions.values()},
        "data_regions": {region.id: region.data_region for region in provider.regions.values()},
        "data_policies": {
            region.id: dict(zip(("policy", "source", "date"), data_policy.stated(provider, region), strict=True))
            for region in provider.regions.values()
        },
        "auth": provider.auth,
    }


def prices(text: str) -> tuple[str | None, dict[str, str]]:
    """Read ``[MODEL=]INPUT/OUTPUT``, in USD per million tokens; the model is None when the price is for all."""
    name, _, both = text.rpartition("=")
    first, slash, second = both.partition("/")
    for part in (first, second) if slash else (first,):
        money.parse_price_per_million(part)
    return name or None, {"input": first, "output": second} if slash else {"input": first}


@command(app, "list", examples=["tokenhub providers list"])
def list_(door: Door) -> None:
    """List every provider, your own first."""
    from tokenhub.operations import providers

    door.rows([row(state) for state in providers.listing(door.hub)], COLUMNS, empty="There is no provider.")


@command(
    app,
    examples=[
        "tokenhub providers add acme-ai --base-url https://api.acme.example/v1 --model acme-large --price 1.25/10",
        "tokenhub providers add lab --base-url http://127.0.0.1:8000/v1 --no-key --model llama=meta-llama/Llama-3.1-8B --price 0/0",
        "tokenhub providers add two --base-url https://two.example/v1 --model s --model l --price s=0.1/0.4 --price l=1/4",
        "tokenhub providers add --file provider.toml",
    ],
)
def add(
    door: Door,
    id: Annotated[str | None, typer.Argument(metavar="ID", help="A short name: lower-case letters, digits, -.", show_default=False)] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="Where /chat/completions stands under.", show_default=False)
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="NAME[=UPSTREAM]", help="A model it serves, and its name there. May be given several times.", show_default=False
        ),
    ] = None,
    price: Annotated[
        list[Any] | None,
        typer.Option(
            "--price", metavar="[NAME=]IN/OUT", parser=prices, show_default=False,
            help="USD per million input and output tokens, of all models or of one. 0/0 is free. May be given several times.",
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Its full name.", show_default=False)] = "",
    capability: Annotated[
        Any,
        typer.Option(
            "--capability", metavar="chat|embeddings", parser=values.one_of("chat", "embeddings"), help="What its models do. Else chat.", show_default=False
        ),
    ] = None,
    context_tokens: Annotated[
        Any, typer.Option("--context", metavar="N", parser=values.whole(1), help="Tokens its models can read and write in all.", show_default=False)
    ] = None,
    output_tokens: Annotated[
        Any, typer.Option("--max-output", metavar="N", parser=values.whole(1), help="Tokens its models can write.", show_default=False)
    ] = None,
    data_region: Annotated[
        str | None,
        typer.Option(
            "--data-region", metavar="CC", help="Where it runs: a country's two letters, eu, self-hosted. Else unknown.", show_default=False
        ),
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="It takes no key, as a server of your own may.")] = False,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Allow a base URL without TLS: key and prompts travel in the clear.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="TOML", help="Read providers and models from a file instead, see examples/provider.toml.", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Add an OpenAI-compatible provider with its models and prices."""
    from tokenhub.operations import providers

    if file is not None:
        own = {"--base-url": base_url, "--model": model, "--price": price, "--name": name, "--capability": capability}
        sizes = {"--context": context_tokens, "--max-output": output_tokens, "--data-region": data_region}
        values.alone("--file", {"ID": id, **own, **sizes, "--no-key": no_key, "--insecure-http": insecure_http})
        states = providers.add_from_file(door.hub, values.text_of(file), file.name)
    else:
        if id is None or base_url is None:
            raise InvalidRequest("Give an id and --base-url, or --file with a TOML file.")
        models = _models(model or [], price or [], capability or "chat", context_tokens, output_tokens)
        new = providers.OwnProvider(id, base_url, models, name, data_region or "unknown", not no_key, insecure_http)
        states = [providers.add(door.hub, new)]
    if door.as_json:
        render.print_line(render.as_json([row(state) for state in states] if file is not None else row(states[0])))
        return
    for state in states:
        ready = (
            "It can be called now."
            if state.credentials
            else f"Give it a key: tokenhub credentials add {state.provider.id}"
        )
        door.say(f"Provider {state.provider.id} is there, with {render.counted(state.models, 'model')}. {ready}")


def _models(
    named: list[str], priced: list[Any], capability: str, context: int | None, max_output: int | None
) -> "list[OwnModel]":
    from tokenhub.operations.own_models import OwnModel

    by_name = dict(priced)
    pairs = [(name, upstream or name) for name, _, upstream in (text.partition("=") for text in named)]
    if unknown := [name for name in by_name if name is not None and name not in dict(pairs)]:
        raise InvalidRequest(f"--price names {unknown[0]!r}, which no --model does.", param="price")
    if missing := [name for name, _ in pairs if name not in by_name and None not in by_name]:
        raise InvalidRequest(f"{missing[0]!r} has no price: give --price IN/OUT; 0/0 is free.", param="price")
    return [
        OwnModel(name, upstream, by_name.get(name) or by_name[None], capability, context, max_output)
        for name, upstream in pairs
    ]


@command(app, examples=["tokenhub providers remove acme-ai"])
def remove(
    door: Door, id: Annotated[str, typer.Argument(metavar="ID", help="A provider of your own.")], yes: Yes = False
) -> None:
    """Remove a provider of your own, with its models, prices and credentials."""
    from tokenhub.operations import providers

    door.confirm(f"Remove provider {id} with its models, prices and credentials?", yes=yes)
    models, credentials = providers.remove(door.hub, id)
    door.done(
        {"id": id, "models": models, "credentials": credentials},
        f"Provider {id} is removed, with {render.counted(models, 'model')} and {render.counted(credentials, 'credential')}.",
    )
