"""Everything that can be refused or fail with words for a caller.

    HubError
    ├─ InvalidRequest 400            ├─ UnsupportedMediaType 415
    ├─ AuthenticationFailed 401      ├─ RateLimited 429
    ├─ InsufficientCredits 402       ├─ UpstreamFailed 502
    ├─ PermissionDenied 403          ├─ Unavailable 503
    ├─ NotFound 404                  ├─ UpstreamTimeout 504
    ├─ MethodNotAllowed 405          ├─ LoopDetected 508
    ├─ RequestTimeout 408            ├─ VersionNotSupported 505
    ├─ Conflict 409                  ├─ InternalError 500
    └─ RequestTooLarge 413           └─ SetupError 500

Only a HubError reaches a caller; anything else becomes ``InternalError`` with a request id.
A message says what is wrong and what to do next; it never quotes a prompt, a key or an
upstream's words. ``str`` of one is for the operator. The doors render it: OpenAI's shape in ``wire/chat/frames.py``, a line on stderr
in ``cli``.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

Matter = Literal["", "store", "master key"]
"""What the operator must see to; nothing, where the message says what to do."""


class HubError(Exception):
    """A refusal with a code, an HTTP status and a message for the caller."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal_error"
    see_to: Matter = ""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        retry_after_s: int | None = None,
        cause: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.type
        self.param = param
        self.metadata = dict(metadata) if metadata else {}
        self.retry_after_s = retry_after_s
        self.cause = cause
        """What lies behind it, for the operator alone: a database's own words may name its hosts, users and tables."""

    def __str__(self) -> str:
        """What the operator is told, in the log and by commands: the message, and what lies behind it."""
        return f"{self.message}: {self.cause}" if self.cause else self.message


class InvalidRequest(HubError):
    status, type = 400, "invalid_request_error"


class AuthenticationFailed(HubError):
    status, type = 401, "authentication_error"


class InsufficientCredits(HubError):
    status, type = 402, "insufficient_credits"


class PermissionDenied(HubError):
    status, type = 403, "permission_denied"


class NotFound(HubError):
    status, type = 404, "not_found"


class ModelNotFound(NotFound):
    type = "model_not_found"


class MethodNotAllowed(HubError):
    status, type = 405, "method_not_allowed"


class RequestTimeout(HubError):
    status, type = 408, "request_timeout"


class Conflict(HubError):
    """A management command met a state that forbids it (name taken, ambiguous id)."""

    status, type = 409, "conflict"


class RequestTooLarge(HubError):
    status, type = 413, "request_too_large"


class UnsupportedMediaType(HubError):
    status, type = 415, "unsupported_media_type"


class RateLimited(HubError):
    status, type = 429, "rate_limit_exceeded"


class InternalError(HubError):
    status, type = 500, "internal_error"


class UpstreamFailed(HubError):
    status, type = 502, "upstream_error"


class Unavailable(HubError):
    """Nothing is up in scope (``no_provider_available``), the ledger is away (``ledger_unavailable``) or the hub is shutting down (``overloaded``)."""

    status, type = 503, "no_provider_available"


class UpstreamTimeout(HubError):
    status, type = 504, "upstream_timeout"


class VersionNotSupported(HubError):
    status, type = 505, "http_version_not_supported"


class LoopDetected(HubError):
    status, type = 508, "loop_detected"


class SetupError(HubError):
    """The home, a setting or a file is not as it must be; the message names it and the remedy, or ``see_to`` what is to be mended."""

    status, type = 500, "setup_error"

    def __init__(self, message: str, *, see_to: Matter = "", **more: Any) -> None:
        super().__init__(message, **more)
        self.see_to = see_to
