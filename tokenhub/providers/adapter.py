"""The contract between the proxy and a provider's wire.

An adapter turns the call's body (always OpenAI's form inside: chat completions or
embeddings) into an upstream request, and what comes back into that form again. It does no
I/O: bytes in, bytes and facts out. ``providers/registry.py`` maps names in the catalogue to
adapters; ``providers/client`` moves the bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.values import value
from tokenhub.wire.faults import Failure
from tokenhub.wire.replies import Reply, StreamReader


@value
class UpstreamRequest:
    """An HTTP request to a deployment. ``headers`` holds all but the connection's own; nothing comes from the client (T56)."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    dropped: Sequence[str] = ()
    """Names of request fields that this provider cannot take and that were left out."""
    method: str = "POST"


@value
class CacheHints:
    """What helps an upstream to find a prompt in its cache; an adapter whose provider has no word for it leaves it out."""

    key: str = ""
    """Names what shares a cache: OpenAI's ``prompt_cache_key``, where the client sent none. A MAC: it names no person."""
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

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        """Read a whole successful reply; raises UpstreamFault for an error inside a 200 (T74)."""
        ...

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        """Return a reader for a streamed reply."""
        ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a reply whose status is not 2xx."""
        ...
