"""The prices of a model as options of a command, in USD per million tokens; shared by all that set them."""

from typing import Annotated, Any

import typer

from tokenhub import money


def _decimal(text: str) -> str:
    money.parse_price_per_million(text)
    return text


def _price(name: str, what: str) -> Any:
    return typer.Option(f"--{name}", metavar="USD", parser=_decimal, help=f"Per million {what}.", show_default=False)


Input = Annotated[Any, _price("input", "prompt tokens")]
Output = Annotated[Any, _price("output", "generated tokens")]
CachedInput = Annotated[Any, _price("cached-input", "prompt tokens read from a cache; else as --input")]
CacheWrite = Annotated[Any, _price("cache-write", "prompt tokens written to a cache; else as --input")]
CacheWrite1h = Annotated[Any, _price("cache-write-1h", "tokens written to a one-hour cache; else as --cache-write")]
AudioInput = Annotated[Any, _price("audio-input", "audio tokens; else as --input")]
ImageInput = Annotated[Any, _price("image-input", "image tokens; else as --input")]
ImageOutput = Annotated[Any, _price("image-output", "generated image tokens; else as --output")]
OutputThinking = Annotated[
    Any, _price("output-thinking", "generated tokens of a reply that reasoned; else as --output")
]
