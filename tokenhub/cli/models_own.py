"""``tokenhub models add`` and ``remove``: models of the operator's own, at any provider."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tokenhub.cli import price_options, render, values
from tokenhub.cli.context import Door, Yes
from tokenhub.cli.model_rows import row
from tokenhub.errors import InvalidRequest

ADD_EXAMPLES: Final = (
    "tokenhub models add gpt-next --provider openai --like gpt-5.4 --input 2 --output 12 --cached-input 0.2",
    "tokenhub models add mistral-large-3 --provider mistral --upstream mistral-large-2512 --input 0.5 --output 1.5 --context 262144",
    "tokenhub models add --file models.toml",
)
REMOVE_EXAMPLES: Final = ("tokenhub models remove gpt-next", "tokenhub models remove deepseek-v3.2 --provider lab")


def add(
    door: Door,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="What clients call it: a new name, or a model that the catalogue knows.", show_default=False)] = None,
    provider: Annotated[str | None, typer.Option("--provider", metavar="P", help="Who offers it.", show_default=False)] = None,
    upstream: Annotated[str | None, typer.Option("--upstream", metavar="ID", help="What it is called there. Else as NAME.", show_default=False)] = None,
    region: Annotated[
        list[str] | None,
        typer.Option("--region", metavar="R", help="A region of the provider that has it. May be given several times. Else as --like, or the only one.", show_default=False),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="MODEL", help="Takes over what that model can do: its sizes, what it reads and writes, its traits, its family. Not its prices.", show_default=False),
    ] = None,
    capability: Annotated[
        Any, typer.Option("--capability", metavar="chat|embeddings", parser=values.one_of("chat", "embeddings"), help="What it does. Else as --like, or chat.", show_default=False)
    ] = None,
    context_tokens: Annotated[Any, typer.Option("--context", metavar="N", parser=values.whole(1), help="Tokens it can read and write in all.", show_default=False)] = None,
    output_tokens: Annotated[Any, typer.Option("--max-output", metavar="N", parser=values.whole(1), help="Tokens it can write.", show_default=False)] = None,
    input: price_options.Input = None,
    output: price_options.Output = None,
    cached_input: price_options.CachedInput = None,
    cache_write: price_options.CacheWrite = None,
    cache_write_1h: price_options.CacheWrite1h = None,
    audio_input: price_options.AudioInput = None,
    image_input: price_options.ImageInput = None,
    image_output: price_options.ImageOutput = None,
    output_thinking: price_options.OutputThinking = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="TOML", help="Read [[models]] from a file instead, see docs/catalog.md.", show_default=False)] = None,
) -> None:  # fmt: skip
    """Offer a model at a provider: a new one, or one that another provider offers already. No release and no restart is needed.

    What is sold by other units than tokens (images, seconds) is stated in a file.
    """
    from tokenhub.operations import own_models

    prices = values.changes(
        input=input, output=output, cached_input=cached_input, cache_write=cache_write, cache_write_1h=cache_write_1h,
        audio_input=audio_input, image_input=image_input, image_output=image_output, output_thinking=output_thinking,
    )  # fmt: skip
    if file is not None:
        facts = {"--region": region, "--like": like, "--capability": capability}
        sizes = {"--context": context_tokens, "--max-output": output_tokens}
        named = {"NAME": name, "--provider": provider, "--upstream": upstream}
        values.alone("--file", {**named, **facts, **sizes, **values.option_names(prices)})
        states = own_models.add_from_file(door.hub, values.text_of(file), file.name)
    else:
        if name is None or provider is None or input is None:
            raise InvalidRequest("Give a name, --provider and at least --input, or --file with a TOML file.")
        own = own_models.OwnModel(name, upstream or name, prices, capability, context_tokens, output_tokens)
        states = [own_models.add(door.hub, provider, own, regions=region or (), like=like)]
    if door.as_json:
        render.print_line(render.as_json([row(state) for state in states] if file is not None else row(states[0])))
        return
    for state in states:
        sellers = dict.fromkeys(place.endpoint.provider.id for place in state.places)
        ready = (
            "It can be called now."
            if state.usable
            else f"Give it a key: tokenhub credentials add {next(iter(sellers), '')}"
        )
        door.say(f"Model {state.model.id} is offered by {', '.join(sellers)}. {ready}")


def remove(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that you added.")],
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="P", help="Only at this provider. Else wherever you added it.", show_default=False)
    ] = None,
    yes: Yes = False,
) -> None:  # fmt: skip
    """Take back a model that you added, with its prices. What the catalogue ships stays."""
    from tokenhub.operations import own_models

    where = f" at {provider}" if provider else ""
    door.confirm(f"Remove {name}{where} with its prices?", yes=yes)
    sellers = own_models.remove(door.hub, name, provider)
    door.done({"id": name, "providers": sellers}, f"{name} is removed at {', '.join(sellers)}.")
