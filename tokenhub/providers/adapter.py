"""The contract between the proxy and a provider's wire.

An adapter turns the call's body (always OpenAI's form inside: chat completions or
embeddings) into an upstream request, and what comes back into that form again. It does no
I/O: bytes in, bytes and facts out. ``providers/registry.py`` maps names in the catalogue to
adapters; ``providers/client`` moves the bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol, runtime_checkable

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.values import value
from tokenhub.wire.faults import Failure
from tokenhub.wire.replies import Reply, StreamReader


@value
class UpstreamRequest:
    """An HTTP request to a deployment. ``headers`` holds all but the connection's own; nothing comes from the client (T56)."""

    url: str = field(repr=False)
    """Of a result it may open that for whoever has it, so it is not shown."""
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | Sequence[bytes | memoryview] = field(repr=False)
    """Whole or in pieces, which are sent without being joined here."""
    dropped: Sequence[str] = ()
    """Names of request fields that this provider cannot take and that were left out."""
    method: str = "POST"
    comes_whole: bool = False
    """Its reply is not streamed, whatever the client asked for: nothing comes until all of it is made."""

    @property
    def size_bytes(self) -> int:
        """Length of the body."""
        return len(self.body) if isinstance(self.body, bytes) else sum(len(piece) for piece in self.body)

    @property
    def pieces(self) -> Sequence[bytes | memoryview]:
        """The body as pieces."""
        return (self.body,) if isinstance(self.body, bytes) else self.body


@value
class Pending:
    """A reply that needs another request: a task that is not done yet, a result that stands elsewhere.

    ``read`` takes status, headers (lower case) and body of the answer, whatever its status;
    it returns the reply, or what is pending then; raises UpstreamFault.
    """

    request: UpstreamRequest
    read: Callable[[int, Mapping[str, str], bytes], "Reply | Pending"] = field(repr=False)
    wait_s: float = 0.0
    """How long to wait before the request is sent."""
    retries: int = 0
    """How often the request may be sent again when no answer comes: what it asks for was paid already."""


@value
class CacheHints:
    """What helps an upstream to find a prompt in its cache; an adapter whose provider has no word for it leaves it out."""

    key: str = ""
    """Names what shares a cache: OpenAI's ``prompt_cache_key``, where the client named none. A MAC: it names no person."""
    mark: bool = False
    """Prompts may be written to a cache where that costs extra: Anthropic's ``cache_control``."""


NO_HINTS = CacheHints()


class Adapter(Protocol):
    """How one provider is called. Stateless; one instance serves all requests."""

    wire: Wire
    """The wire of the bodies it is given and of the replies it reads: the client's own, or the one of calls inside."""

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        """Build the upstream request from the client's body.

        ``output_limit`` is set when a limit must be sent although the client gave none (the
        balance covers less, or the upstream has no maximum of its own), or replaces it.
        Raises InvalidRequest for what this provider can never do (``param`` names the field).
        """
        ...

    def reply(
        self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes
    ) -> Reply | Pending:
        """Read a whole successful reply, or what it waits for; raises UpstreamFault for an error inside a 200 (T74)."""
        ...

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        """Return a reader for a streamed reply."""
        ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a reply whose status is not 2xx."""
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """An adapter whose provider tells how many tokens a prompt has, without answering it and without a charge."""

    def count_request(self, call: Call, body: Mapping[str, Any], deployment: Deployment) -> UpstreamRequest | None:
        """Return the request that asks for it; None where this provider has no such address."""
        ...

    def count(self, body: bytes) -> int:
        """Read the answer; raises UpstreamFault for what is none."""
        ...
