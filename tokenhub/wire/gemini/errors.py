"""Google's error bodies: what they say, and whose fault they are.

An error is a google.rpc.Status in JSON. The status line is no guide: a bad key is a 400, an
exhausted balance a 429, and inside a stream there is no status line at all.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tokenhub.usage import count
from tokenhub.wire import json_text
from tokenhub.wire.chat.parts import items_of
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.words import code_word


@dataclass(frozen=True, slots=True)
class GeminiError:
    """Google's error body (google.rpc.Status in JSON), with what its details say."""

    code: int | None
    """The HTTP status that the body names."""
    status: str
    """The gRPC code word, such as RESOURCE_EXHAUSTED."""
    message: str
    reasons: tuple[str, ...] = ()
    """ErrorInfo reasons, such as API_KEY_INVALID."""
    quota_ids: tuple[str, ...] = ()
    """Quotas that were exceeded, such as …PerDayPerProjectPerModel-FreeTier."""
    retry_after_s: float | None = None
    """From RetryInfo, else from the message; there is no retry-after header."""


_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_RETRY_IN = re.compile(r"retry in (\d{1,9}(?:\.\d{1,9})?)s", re.IGNORECASE)


def parse_error(raw: object) -> GeminiError | None:
    """Read an error body, given as bytes or as parsed JSON; None when it is none.

    It comes bare or as the one element of an array (streams without alt=sse, the
    OpenAI-compatible surface; google-gemini/gemini-cli issue 4646).
    """
    if isinstance(raw, (bytes, bytearray, str)):
        try:
            raw = json_text.loads(raw)
        except orjson.JSONDecodeError:
            return None
    if isinstance(raw, list) and raw:
        raw = raw[-1]
    error = raw.get("error") if isinstance(raw, dict) else None
    if not isinstance(error, dict):
        return None
    details = items_of(error.get("details"))
    message = _text(error.get("message"))
    return GeminiError(
        code=count(error.get("code")),
        status=_text(error.get("status")),
        message=message,
        reasons=tuple(filter(None, (_text(detail.get("reason")) for detail in details))),
        quota_ids=tuple(_quota_ids(details)),
        retry_after_s=_retry_after_s(details, message),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _quota_ids(details: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for detail in details:
        for violation in items_of(detail.get("violations")):
            if _text(violation.get("quotaId")):
                yield violation["quotaId"]


def _retry_after_s(details: Iterable[Mapping[str, Any]], message: str) -> float | None:
    for detail in details:
        match = _SECONDS.fullmatch(_text(detail.get("retryDelay")))
        if match:
            return float(match.group(1))
    match = _RETRY_IN.search(message)
    return float(match.group(1)) if match else None


_KIND_BY_STATUS: Mapping[str, FaultKind] = {
    "INVALID_ARGUMENT": FaultKind.BAD_REQUEST,
    "OUT_OF_RANGE": FaultKind.BAD_REQUEST,
    "FAILED_PRECONDITION": FaultKind.GEO,
    "UNAUTHENTICATED": FaultKind.AUTH,
    "PERMISSION_DENIED": FaultKind.AUTH,
    "NOT_FOUND": FaultKind.MODEL_GONE,
    "RESOURCE_EXHAUSTED": FaultKind.RATE,
    "UNAVAILABLE": FaultKind.OVERLOAD,
    "DEADLINE_EXCEEDED": FaultKind.OVERLOAD,
}
_KIND_BY_REASON: Mapping[str, FaultKind] = {
    "API_KEY_INVALID": FaultKind.AUTH,
    "API_KEY_EXPIRED": FaultKind.AUTH,
    "SERVICE_DISABLED": FaultKind.AUTH,
    "BILLING_DISABLED": FaultKind.BILLING,
}
_KIND_BY_TEXT: tuple[tuple[str, str, FaultKind], ...] = (
    ("INVALID_ARGUMENT", "api key expired", FaultKind.AUTH),
    ("INVALID_ARGUMENT", "api key not valid", FaultKind.AUTH),
    ("INVALID_ARGUMENT", "exceeds the maximum number of tokens", FaultKind.CONTEXT),
    ("INVALID_ARGUMENT", "responsible ai", FaultKind.FILTER),
    ("FAILED_PRECONDITION", "enable billing", FaultKind.BILLING),
    ("RESOURCE_EXHAUSTED", "spend cap", FaultKind.BILLING),
    ("RESOURCE_EXHAUSTED", "prepay", FaultKind.BILLING),
)
"""Status, a piece of its message in lower case, and what it means. A bad key is a 400 here, an
exhausted balance a 429 (ai.google.dev/gemini-api/docs/troubleshooting, read 2026-11)."""


def classify(error: GeminiError | None, http_status: int | None) -> Failure:
    """Sort an error of this wire, whether it came with a status of its own or inside a stream.

    The message is left out: ``providers/failures.py`` adds it, scrubbed, for client faults.
    """
    if error is None:
        kind = FaultKind.SERVER if http_status is not None and http_status >= 500 else FaultKind.PROTOCOL
        return Failure(kind, http_status)
    status = http_status if http_status is not None and http_status >= 400 else error.code
    kind, evidence = _kind(error, status)
    return Failure(
        kind,
        status,
        code_word((*error.reasons, error.status)[0]),
        retry_after_s=error.retry_after_s,
        evidence=evidence,
    )


def _kind(error: GeminiError, status: int | None) -> tuple[FaultKind, str]:
    """Return the kind, and the words that tell it where nothing else does."""
    for reason in error.reasons:
        if reason in _KIND_BY_REASON:
            return _KIND_BY_REASON[reason], ""
    text = error.message.lower()
    for grpc_status, needle, kind in _KIND_BY_TEXT:
        if grpc_status == error.status and needle in text:
            return kind, needle
    if status == 402 or any("PerDay" in quota for quota in error.quota_ids):
        return FaultKind.BILLING, ""
    return _KIND_BY_STATUS.get(error.status, FaultKind.SERVER), ""
