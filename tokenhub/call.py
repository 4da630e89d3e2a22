"""What is known of a request before it is routed, whatever its wire."""

from collections.abc import Mapping
from enum import StrEnum

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
    forces_tool: bool = False
    wants_json_schema: bool = False
    one_tool_call: bool = False
    """``parallel_tool_calls: false``: a wire without such a field cuts the reply to its first call."""
    encoding: str | None = None
    """Embeddings: ``float`` or ``base64``, what the client wants; None for chat."""
    created_s: int = 0
    """When the request arrived, in seconds since 1970: a reply's ``created`` where an upstream sends none."""
