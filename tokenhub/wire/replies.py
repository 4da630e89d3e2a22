"""What a wire gives back: a whole reply, or a stream read piece by piece, always in OpenAI's form."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from tokenhub.usage import Usage
from tokenhub.values import value
from tokenhub.wire.chat.parts import binds, choices_of
from tokenhub.wire.faults import Failure


@value
class Reply:
    """A whole reply in OpenAI's form.

    ``body`` is the decoded JSON to be sent to the client; its ``usage`` member is replaced by
    the proxy. ``usage`` None: the provider sent none, or nonsense (T7, T9).
    """

    body: dict[str, Any] = field(repr=False)
    usage: Usage | None
    finish_reason: str | None
    native_finish_reason: str | None
    upstream_id: str | None
    has_content: bool
    """Text, reasoning, refusal, tool call, image or audio; False for an empty or blocked reply."""
    output_bytes: int = 0
    """Size of the generated text, for the estimate when usage is missing; 0 when it is not."""
    served_model: str | None = None
    estimated: bool = False
    """``usage`` is the wire's own estimate: what it counts can be told from the request, and the provider told nothing."""

    bound: bool = False
    """Its reader saw a tool call or a signature, where ``body`` is in another wire than chat."""

    @property
    def binds(self) -> bool:
        """Whether it has a tool call or a signature, so that the next request belongs to the same deployment."""
        return self.bound or any(binds(choice.get("message")) for choice in choices_of(self.body))


@dataclass(slots=True)
class StreamFacts:
    """What a stream has shown so far; a :class:`StreamReader` keeps it up to date."""

    content: bool = False
    """First content was seen: the commit point."""
    complete: bool = False
    """The wire's terminal marker was seen (T72)."""
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    usage: Usage | None = None
    told: Usage | None = None
    """The most that was counted so far: what an estimate is made of where ``usage`` never comes."""
    estimated: bool = False
    """``usage`` is the wire's own estimate."""
    upstream_id: str | None = None
    shown_id: str | None = None
    """The id in its frames, where that is not ``upstream_id``: what the proxy adds must bear the same."""
    served_model: str | None = None
    created: int = 0
    """When the upstream says its reply began, in seconds since 1970; 0: it says nothing."""
    output_bytes: int = 0
    """Size of the generated text, for an estimate. Of frames that pass unread it is what they have above the first one's envelope."""
    binds: bool = False
    """A tool call or a signature was seen in a frame that was read; of frames that pass unread the finish reason tells."""
    failure: Failure | None = None
    """An error inside the stream (T74, T75); nothing after it counts."""

    def take(self, reply: Reply) -> None:
        """Note what a whole reply shows that came in place of the stream."""
        self.content, self.usage, self.output_bytes = reply.has_content, reply.usage, reply.output_bytes
        self.finish_reason, self.native_finish_reason = reply.finish_reason, reply.native_finish_reason
        self.upstream_id, self.served_model = reply.upstream_id, reply.served_model
        self.estimated, self.binds = reply.estimated, reply.binds

    def tell(self, usage: Usage | None) -> None:
        """Keep what a count tells, were it only of the prompt."""
        if usage is not None:
            self.told = usage if self.told is None else usage.following(self.told)


class StreamReader(Protocol):
    """Reads one provider stream and gives it back as OpenAI chat-completion SSE frames.

    ``feed`` takes the next bytes and returns the complete frames (bytes, each ending in a
    blank line) that may be relayed now. From the frame that carries the last finish reason
    on, frames are kept back and come out of ``ending()``, so that the proxy can settle
    before the client sees the end. Usage frames and ``[DONE]`` are never returned: the proxy
    writes its own. A stream's failure is put into ``facts.failure``, not raised; a frame
    above the byte cap is a PROTOCOL failure (T59, T71).
    """

    facts: StreamFacts

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the stream; return the bytes that can go to the client."""
        ...

    def close(self) -> None:
        """The upstream has ended: decide ``facts.complete``, or set ``facts.failure`` to a PROTOCOL cut."""
        ...

    def ending(self) -> bytes:
        """Return the frames that were kept back (finish reason; not usage, not ``[DONE]``)."""
        ...
