"""What is known of a request before it is routed, whatever its wire."""

from collections.abc import Mapping
from enum import StrEnum

from tokenhub.usage import Units
from tokenhub.values import value


class Capability(StrEnum):
    """What a model can be asked for; one endpoint family each."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    IMAGES = "images"
    VIDEOS = "videos"
    SPEECH = "speech"
    TRANSCRIPTIONS = "transcriptions"
    MODERATIONS = "moderations"
    RERANK = "rerank"


class Wire(StrEnum):
    """A body format."""

    CHAT = "chat"
    """OpenAI chat completions: also the form in which a chat call travels inside."""
    RESPONSES = "responses"
    """OpenAI Responses."""
    MESSAGES = "messages"
    """Anthropic Messages."""
    GEMINI = "gemini"
    """Google generateContent."""
    COMPLETIONS = "completions"
    """OpenAI's legacy text completions."""
    EMBEDDINGS = "embeddings"
    """OpenAI embeddings; the following are OpenAI's too, but for rerank, which is Cohere's and Jina's."""
    IMAGES = "images"
    VIDEOS = "videos"
    SPEECH = "speech"
    TRANSCRIPTIONS = "transcriptions"
    MODERATIONS = "moderations"
    RERANK = "rerank"


INSIDE: Mapping[Capability, Wire] = {capability: Wire(capability.value) for capability in Capability}
"""The form in which a call travels inside, whatever its client speaks."""
TRANSLATED = frozenset({Wire.RESPONSES, Wire.MESSAGES, Wire.GEMINI})
"""Wires whose calls any chat deployment can serve, by translation; a call in another needs an upstream that speaks it."""


@value
class Call:
    """The facts of one request that admission, the bound and routing need.

    ``input_bytes`` is the size of the JSON of all that becomes prompt (messages, tools,
    response format, input), an upper bound of its tokens: a token is at least one byte.
    """

    capability: Capability
    model: str
    wire: Wire = Wire.CHAT
    """The format in which the client sent it and reads the reply."""
    stream: bool = False
    include_usage: bool = False
    input_bytes: int = 0
    messages: int = 0
    images: int = 0
    audio_parts: int = 0
    files: int = 0
    choices: int = 1
    max_output: int | None = None
    uses_tools: bool = False
    wants_json_schema: bool = False
    effort: str | None = None
    """How much reasoning was asked for, in OpenAI's words; None: nothing was said."""
    one_tool_call: bool = False
    """``parallel_tool_calls: false``: a wire without such a field cuts the reply to its first call."""
    units: tuple[Units, ...] = ()
    """The most of what is not a token that the reply can come to: images asked for, seconds, characters."""
    tokens_estimate: int = 0
    """For a provider that counts none. Speech: about how many tokens of sound the text comes to; rerank: of the prompt."""
    output_beyond: int = 0
    """Output tokens that can come on top of each choice's most: partial images of a stream."""
    image_scale: int = 1
    """How many times the area of a usual image (1536x1024) one of those asked for has, rounded up."""
    image_words: Mapping[str, str] | None = None
    """Quality and size as far as they were asked for: what images cost by whose reply does not say."""
    encoding: str | None = None
    """What the client wants of the reply's form. Embeddings: ``float`` or ``base64``; images: ``url`` or ``b64_json``;
    speech: ``audio`` or ``sse``; transcriptions: the ``response_format``; None for chat."""
    operation: str = ""
    """Which of a capability's operations, where it has several: ``translations`` of a recording."""
    seconds: float | None = None
    """How long the recording to be transcribed is by its own header; None where it does not say."""
    betas: tuple[str, ...] = ()
    """Names of unreleased features that the client asks for beside the body: ``anthropic-beta``."""
    created_s: int = 0
    """When the request arrived, in seconds since 1970: a reply's ``created`` where an upstream sends none."""
