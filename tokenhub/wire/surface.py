"""An API as its clients speak it: what they send, what they are answered, how a stream and an error look to them.

One object serves one request. A chat surface turns its body into OpenAI's chat form, in which
the call travels inside, and the reply back; where the upstream speaks the surface's own wire
(``native``), bodies and frames pass as they are. Errors are rendered before anything is known
of the request, so every surface can do that from the start.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from tokenhub.call import Call, Wire
from tokenhub.errors import HubError
from tokenhub.usage import Usage
from tokenhub.values import value
from tokenhub.wire import sse
from tokenhub.wire.replies import Reply, StreamFacts

JSON = "application/json"
KEY_HEADERS = ("x-api-key",)
"""Where a key may stand on every surface, beside ``Authorization: Bearer``: Anthropic's clients put it there."""
EVENT_STREAM = "text/event-stream; charset=utf-8"


@value
class Arrival:
    """What of a request is not its body, as far as an API puts words there."""

    path: str
    """Without the query, as it was sent."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in any case."""
    now_s: int
    """Seconds since 1970."""


@value
class Rendered:
    """A whole reply, but for what it cost.

    ``usage_member`` names the member of the JSON object that shows usage and cost; it is
    written last, after the charge is committed. Without it ``body`` is the whole reply.
    """

    body: bytes
    usage_member: str = ""
    content_type: str = JSON

    def with_usage(self, usage: bytes) -> bytes:
        """Return the bytes for the client; ``usage`` is JSON."""
        if not self.usage_member:
            return self.body
        return b'%b,"%b":%b}' % (self.body[:-1], self.usage_member.encode(), usage)


@value
class End:
    """What the end of a stream can tell, once it is charged."""

    request_id: str
    usage: Usage
    cost: Mapping[str, Any]
    """``cost``, ``is_byok`` and ``cost_details``: members of every surface's usage object."""
    facts: StreamFacts


class Surface(Protocol):
    """One request's side of an API. ``parse`` and ``call`` raise InvalidRequest that names the field at fault."""

    wire: ClassVar[Wire]
    media_type: str
    """Of the request's body: ``application/json``, or ``multipart/form-data``."""
    key_headers: ClassVar[tuple[str, ...]]
    """Where the key may stand, beside ``Authorization: Bearer``."""
    id_headers: ClassVar[tuple[str, ...]]
    """Headers of the reply in which the request's id stands."""
    stream_type: str
    """Content type of a streamed reply."""
    keep_alive: bytes
    """What is written into a silent stream; empty: nothing may be."""
    native: bool
    """Set by the proxy before ``reply`` or ``feed``: the answer is in this surface's own wire."""

    def parse(self, raw: bytes) -> dict[str, Any]:
        """Return the body as it was sent."""
        ...

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        """Return the facts of the request, and its body in the form in which it travels inside."""
        ...

    def reply(self, reply: Reply) -> Rendered:
        """Render a whole reply."""
        ...

    def usage(self, usage: Usage, cost: Mapping[str, Any], reply: Reply | None) -> Mapping[str, Any]:
        """Return the usage object of a reply; ``reply`` is there for members that only its upstream knows."""
        ...

    def feed(self, frames: bytes) -> bytes:
        """Return what the client gets of whole frames of a stream; raises UpstreamFault for frames that cannot be read."""
        ...

    def hold_back(self, frames: bytes) -> bytes:
        """Return what the client will get of the frames kept back, for ``ending``; raises UpstreamFault like ``feed``.

        Asked before the charge: what cannot be told must not be paid for.
        """
        ...

    def ending(self, held: bytes, end: End) -> bytes:
        """Return the last bytes of a stream: what was held back, the usage, the end. Never fails: it is paid for."""
        ...

    def error(self, error: HubError, request_id: str) -> Mapping[str, Any]:
        """Return the error body."""
        ...

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        """Return what ends a stream that failed; nothing follows it. Empty: the stream can say no such thing and is broken off."""
        ...


class JsonSurface:
    """What surfaces of JSON bodies and event streams share."""

    media_type: str = JSON
    key_headers: ClassVar[tuple[str, ...]] = KEY_HEADERS
    id_headers: ClassVar[tuple[str, ...]] = ("x-request-id",)

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.native = False
        self.stream_type = EVENT_STREAM
        self.keep_alive = sse.KEEP_ALIVE

    def hold_back(self, frames: bytes) -> bytes:
        """Return frames as they are, where those of inside are the client's."""
        return frames
