"""What can go wrong at an upstream, in TokenHub's words.

An adapter (``providers/failures.py``) sorts a provider's status, code and text into one
:class:`FaultKind`; a stream reader does the same with an error inside a stream. Nothing
above the adapters knows a provider's words.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """Whose fault a failed attempt is, and what follows (``docs/faults.md``)."""

    AUTH = "auth"
    BILLING = "billing"
    GEO = "geo"
    RATE = "rate"
    OVERLOAD = "overload"
    SERVER = "server"
    TIMEOUT = "timeout"
    CONNECT = "connect"
    PROTOCOL = "protocol"
    """A reply that is not HTTP or not the provider's wire: cut, malformed, redirect, too large."""
    MODEL_GONE = "model_gone"
    CONTEXT = "context"
    TOO_LARGE = "too_large"
    """More tokens at once than its credential may send in a minute: no wait helps, but another credential may take it."""
    FILTER = "filter"
    BAD_REQUEST = "bad_request"


CLIENT_FAULTS = frozenset({FaultKind.CONTEXT, FaultKind.TOO_LARGE, FaultKind.FILTER, FaultKind.BAD_REQUEST})
"""Faults of the request itself, which the client is told (400): all but ``TOO_LARGE`` another deployment would refuse too."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, in TokenHub's words."""

    kind: FaultKind
    status: int | None = None
    """The upstream's HTTP status, if there was one."""
    code: str = ""
    """The provider's own code word, scrubbed: letters, digits, ``._-`` only, at most 64."""
    message: str = ""
    """Only for client faults: the provider's text, scrubbed of keys, ids and URLs, at most 500 characters."""
    param: str | None = None
    retry_after_s: float | None = None
    evidence: str = field(default="", compare=False, repr=False)
    """The words of the provider's text, in lower case, that alone told the kind: none where the request has them too."""


class UpstreamFault(Exception):
    """An attempt failed: raised by the client and by adapters, caught in ``proxy/attempts.py``."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind} {failure.status or ''} {failure.code}".strip())
        self.failure = failure
