"""The smallest request of each kind, for questions about routing that bring none of their own."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tokenhub.call import Capability
from tokenhub.wire import multipart
from tokenhub.wire.audio.speech import SpeechSurface
from tokenhub.wire.audio.transcriptions import TranscriptionsSurface
from tokenhub.wire.images.surface import ImagesSurface
from tokenhub.wire.moderations import ModerationsSurface
from tokenhub.wire.multipart import Upload
from tokenhub.wire.openai_surfaces import ChatSurface, EmbeddingsSurface
from tokenhub.wire.rerank import RerankSurface
from tokenhub.wire.surface import JSON, Arrival, Surface
from tokenhub.wire.videos.surface import VideosSurface

_SILENCE = b"RIFF\xa4>\x00\x00WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80>\0\0\2\0\x10\0data\x80>\0\0" + bytes(16_000)
"""A second of it: WAV, 8 kHz, 16 bits."""

SPEAKS: Mapping[Capability, tuple[Callable[[Arrival], Surface], Mapping[str, Any]]] = {
    Capability.CHAT: (ChatSurface, {"messages": [{"role": "user", "content": "Hello"}]}),
    Capability.EMBEDDINGS: (EmbeddingsSurface, {"input": "Hello"}),
    Capability.IMAGES: (ImagesSurface, {"prompt": "Hello"}),
    Capability.VIDEOS: (VideosSurface, {"prompt": "Hello"}),
    Capability.SPEECH: (SpeechSurface, {"input": "Hello", "voice": "alloy"}),
    Capability.TRANSCRIPTIONS: (
        TranscriptionsSurface,
        {"file": Upload("file", "hello.wav", "audio/wav", _SILENCE)},
    ),
    Capability.MODERATIONS: (ModerationsSurface, {"input": "Hello"}),
    Capability.RERANK: (RerankSurface, {"query": "Hello", "documents": ["Hello"]}),
}
"""How a model of each kind is asked through OpenAI's own surface, and with what."""


def to(model: str, capability: Capability, now_s: int) -> tuple[Surface, bytes]:
    """Return the surface on which this model is asked, and a body that says hello to it."""
    speak, fields = SPEAKS[capability]
    body = {"model": model, **fields}
    if any(isinstance(one, Upload) for one in fields.values()):
        content_type, pieces = multipart.render(body)
        return speak(Arrival("", {}, {"Content-Type": content_type}, now_s)), b"".join(pieces)
    return speak(Arrival("", {}, {"Content-Type": JSON}, now_s)), orjson.dumps(body)
