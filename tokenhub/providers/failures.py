"""A provider's status, code and text, sorted into one ``FaultKind``.

The same word means different things at different providers (``insufficient_quota`` is no
money at OpenAI and a throttle at DashScope), and money refusals hide behind 400 and 429. So
the provider's own rules are tried first, then rules of text that are certain anywhere, then
the status. The first rule that matches decides. Codes are from each provider's error page
and SDK, read 2026-11-22.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any

import orjson

from tokenhub.providers import scrub
from tokenhub.wire import json_text
from tokenhub.wire.faults import CLIENT_FAULTS, Failure, FaultKind
from tokenhub.wire.gemini import errors as gemini_errors

MAX_RETRY_AFTER_S = 86_400.0
MAX_WORDS = 64
"""Code words taken from one error: inside a 200 it may be as long as a reply."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an error reply says, whatever its shape."""

    status: int | None
    words: frozenset[str]
    """Every code word in it (code, type, status, reason), in lower case."""
    text: str
    """Its message, in lower case."""
    message: str
    code: object
    param: object
    headers: Mapping[str, str]
    is_error: bool
    """It has the shape of an API's error; a proxy's HTML page has not."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches when every part that is given does: one of the statuses, of the words, of the texts."""

    kind: FaultKind
    statuses: frozenset[int] = frozenset()
    words: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    holds: Callable[[Said], bool] | None = None

    def evidence(self, said: Said) -> str:
        """Return what of an error's text tells that it is of this kind, where nothing but the text does."""
        return "" if self.words else next((text for text in self.texts if text in said.text), "")

    def matches(self, said: Said) -> bool:
        """Return whether an error is of this kind."""
        # An error inside a 200 has no status of its own: its words must do.
        if (
            self.statuses
            and said.status not in self.statuses
            and not (said.status is None and (self.words or self.texts))
        ):
            return False
        if self.words and not self.words & said.words:
            return False
        if self.texts and not any(text in said.text for text in self.texts):
            return False
        return self.holds is None or self.holds(said)


def _rule(
    kind: FaultKind,
    *statuses: int,
    words: str = "",
    texts: Iterable[str] = (),
    holds: Callable[[Said], bool] | None = None,
) -> Rule:
    return Rule(kind, frozenset(statuses), frozenset(words.split()), tuple(texts), holds)


def _not_worth_a_retry(said: Said) -> bool:
    """A monthly cap at Anthropic: a 429 without ``retry-after`` that is not marked for retry (docs: rate limits, 2026-11)."""
    return "retry-after" not in said.headers and said.headers.get("x-should-retry") != "true"


def _names_a_field(said: Said) -> bool:
    """An item of the input that is not kept is not found ("Item with id 'rs_…' not found", openai-agents-python 2265), no model."""
    return isinstance(said.param, str) and said.param not in ("", "model")


_TOO_LARGE = _rule(FaultKind.TOO_LARGE, 413, 429, texts=("request too large for",))
"""More tokens than this key may send in a minute: others' smaller requests are not throttled (OpenAI's 429, Groq's 413, 2026-11)."""
_OPENAI = (
    _TOO_LARGE,
    _rule(FaultKind.BAD_REQUEST, 404, holds=_names_a_field),
    _rule(FaultKind.GEO, 403, words="unsupported_country_region_territory"),
    _rule(FaultKind.GEO, 403, texts=("country, region, or territory not supported",)),
    _rule(
        FaultKind.BILLING,
        words="insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded project_spend_limit_exceeded"
        " organization_usage_limit_exceeded billing_hard_limit_reached billing_not_active",
    ),
    _rule(FaultKind.OVERLOAD, words="slow_down", holds=lambda said: said.status != 429),
    _rule(FaultKind.RATE, words="rate_limit_exceeded slow_down"),
    _rule(FaultKind.OVERLOAD, words="server_is_overloaded service_unavailable_error"),
    _rule(FaultKind.FILTER, words="content_policy_violation moderation_blocked content_filter invalid_prompt"),
    _rule(FaultKind.FILTER, 400, texts=("flagged as potentially violating our usage policy",)),
    _rule(FaultKind.AUTH, words="invalid_api_key invalid_organization ip_not_authorized"),
    _rule(FaultKind.SERVER, words="server_error"),
)
_ANTHROPIC = (
    _rule(FaultKind.BILLING, words="billing_error enforced_spend_limit_reached organization_on_hold"),
    _rule(
        FaultKind.BILLING,
        400,
        403,
        texts=("credit balance is too low", "reached your specified api usage limits", "workspace api usage limits"),
    ),
    _rule(FaultKind.BILLING, 429, holds=_not_worth_a_retry),
    _rule(FaultKind.RATE, words="rate_limit_error"),
    _rule(FaultKind.GEO, 403, words="forbidden", texts=("request not allowed",)),
    _rule(FaultKind.AUTH, words="authentication_error permission_error"),
    _rule(FaultKind.OVERLOAD, words="overloaded_error timeout_error api_error"),
    _rule(FaultKind.CONTEXT, 413),
    _rule(FaultKind.CONTEXT, words="request_too_large"),
    _rule(FaultKind.CONTEXT, 400, texts=("prompt is too long", "exceed context limit")),
    _rule(FaultKind.MODEL_GONE, words="not_found_error", texts=("model",)),
    _rule(FaultKind.FILTER, 400, texts=("output blocked by content filtering policy",)),
    _rule(FaultKind.BAD_REQUEST, words="invalid_request_error"),
)
_DEEPSEEK = (
    _rule(FaultKind.FILTER, 400, texts=("content exists risk",)),
    _rule(FaultKind.AUTH, words="authentication_error"),
    _rule(FaultKind.RATE, words="rate_limit_reached"),
)
_MOONSHOT = (
    _rule(FaultKind.AUTH, words="invalid_authentication_error incorrect_api_key_error permission_denied_error"),
    _rule(FaultKind.BILLING, words="exceeded_current_quota_error"),
    _rule(FaultKind.BILLING, 403, texts=("balance", "suspended")),
    _rule(FaultKind.OVERLOAD, words="engine_overloaded_error"),
    _rule(FaultKind.RATE, words="rate_limit_reached_error"),
    _rule(FaultKind.FILTER, words="content_filter"),
    _rule(FaultKind.MODEL_GONE, words="resource_not_found_error"),
    _rule(FaultKind.CONTEXT, texts=("exceeded model token limit",)),
)
_ALIBABA = (
    _rule(FaultKind.BILLING, words="arrearage accessdenied.unpurchased allocationquota.freetieronly"),
    _rule(
        FaultKind.BILLING,
        403,
        429,
        texts=("free allocated quota exceeded", "free tier of the model has been exhausted"),
    ),
    # insufficient_quota is a token rate here that clears in a minute (wire recordings; can1357/oh-my-pi 8476).
    _rule(
        FaultKind.RATE,
        words="throttling throttling.ratequota throttling.allocationquota throttling.burstrate limit_requests insufficient_quota limit_burst_rate",
    ),
    _rule(FaultKind.AUTH, words="invalidapikey invalid_api_key model.accessdenied accessdenied workspace.accessdenied"),
    _rule(FaultKind.FILTER, words="datainspectionfailed data_inspection_failed"),
    _rule(FaultKind.MODEL_GONE, words="modelnotfound model_not_found model_not_supported"),
    _rule(FaultKind.MODEL_GONE, 400, words="invalidparameter", texts=("model not exist",)),
    _rule(FaultKind.CONTEXT, 400, texts=("range of input length should be",)),
    _rule(FaultKind.OVERLOAD, words="serviceunavailable modelservingerror"),
)
_ZHIPU = (
    _rule(FaultKind.AUTH, words="1000 1001 1002 1003 1004 1005"),
    _rule(FaultKind.BILLING, words="1110 1111 1112 1113 1120 1121 1304 1308 1309 1310 1311"),
    _rule(FaultKind.RATE, words="1302 1303 1313"),
    _rule(FaultKind.OVERLOAD, words="1305 1312"),
    _rule(FaultKind.FILTER, words="1301"),
    _rule(FaultKind.MODEL_GONE, words="1211 1221"),
    _rule(FaultKind.CONTEXT, words="1261"),
    _rule(FaultKind.BAD_REQUEST, words="1210 1213 1214 1215"),
    _rule(FaultKind.SERVER, words="500 1234"),
)
_OPENROUTER = (
    # 402 is also sent for credits that requests in flight hold (openrouter.ai/docs, errors).
    _rule(FaultKind.RATE, 402, texts=("in-flight", "in flight")),
    _rule(FaultKind.FILTER, 403, texts=("moderation", "flagged")),
    _rule(FaultKind.TIMEOUT, 408),
    _rule(FaultKind.OVERLOAD, 502, 503),
)
_MISTRAL = (
    _rule(FaultKind.MODEL_GONE, 400, words="invalid_model"),
    _rule(FaultKind.CONTEXT, 400, texts=("too large for model",)),
)
_AZURE = (
    _rule(FaultKind.MODEL_GONE, 404, words="deploymentnotfound"),
    _rule(FaultKind.FILTER, 400, words="content_filter responsibleaipolicyviolation"),
    *_OPENAI,
)

RULES: Mapping[str, tuple[Rule, ...]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "deepseek": _DEEPSEEK,
    "moonshot": _MOONSHOT,
    "alibaba": _ALIBABA,
    "zhipu": _ZHIPU,
    "openrouter": _OPENROUTER,
    "mistral": _MISTRAL,
    "azure": _AZURE,
}
"""By provider; one that is not here has only the general rules. Gemini's stand in ``wire/gemini/errors.py``."""

ANYWHERE = (
    _TOO_LARGE,
    _rule(
        FaultKind.BILLING,
        texts=(
            "credit balance is too low",
            "insufficient balance",
            "insufficient_balance",
            "exceeded your current quota",
            "organization has been disabled",
            "余额不足",
            "欠费",
        ),
    ),
    _rule(FaultKind.CONTEXT, words="context_length_exceeded exceed_context_size_error"),
    _rule(
        FaultKind.CONTEXT,
        400,
        413,
        422,
        500,
        texts=(
            "maximum context length",
            "context length exceeded",
            "exceeds the available context size",
            "prompt is too long",
        ),
    ),
    _rule(FaultKind.MODEL_GONE, 400, 404, words="model_not_found model_decommissioned model_not_available"),
    _rule(FaultKind.FILTER, 400, words="content_policy_violation content_filter"),
)
"""Certain whoever says it: unknown relays, self-hosted servers."""

BY_STATUS: Mapping[int, FaultKind] = {
    400: FaultKind.BAD_REQUEST,
    401: FaultKind.AUTH,
    402: FaultKind.BILLING,
    403: FaultKind.AUTH,
    404: FaultKind.MODEL_GONE,
    408: FaultKind.TIMEOUT,
    410: FaultKind.MODEL_GONE,
    413: FaultKind.CONTEXT,
    422: FaultKind.BAD_REQUEST,
    425: FaultKind.OVERLOAD,
    429: FaultKind.RATE,
    451: FaultKind.GEO,
    498: FaultKind.OVERLOAD,
    503: FaultKind.OVERLOAD,
    504: FaultKind.TIMEOUT,
    522: FaultKind.CONNECT,
    524: FaultKind.TIMEOUT,
    529: FaultKind.OVERLOAD,
}
"""What a status means where nothing else is known; 498 is Groq's, 52x Cloudflare's."""

# What an API says of a key, a model or a request; without its words, a page of some proxy on the way.
_NEEDS_WORDS = frozenset({FaultKind.BAD_REQUEST, FaultKind.AUTH, FaultKind.MODEL_GONE})


def classify(provider_id: str, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Sort a reply whose status is not 2xx. Header names are read in lower case."""
    return _sorted(provider_id, _said(_parsed(body), status, headers), status)


def of_payload(provider_id: str, payload: Any) -> Failure:
    """Sort an error that came inside a 200, whole or in a stream (T74, T75)."""
    said = _said(payload, None, {})
    status = said.code if isinstance(said.code, int) and 400 <= said.code < 600 else None
    return _sorted(provider_id, replace(said, status=status), status)


def of_gemini(status: int, body: bytes) -> Failure:
    """Sort a Gemini reply whose status is not 2xx."""
    failure = gemini_errors.classify(gemini_errors.parse_error(body), status)
    return _with_message(replace(failure, code=scrub.code_word(failure.code)), _said(_parsed(body), status, {}))


def _sorted(provider_id: str, said: Said, status: int | None) -> Failure:
    rule = next((rule for rule in (*RULES.get(provider_id, ()), *ANYWHERE) if rule.matches(said)), None)
    kind = rule.kind if rule else _by_status(said)
    code = scrub.code_word(said.code) or next((word for word in sorted(map(scrub.code_word, said.words)) if word), "")
    retry_after_s = None if kind in CLIENT_FAULTS else retry_after(said.headers, said.message)
    evidence = rule.evidence(said) if rule else ""
    return _with_message(Failure(kind, status, code, retry_after_s=retry_after_s, evidence=evidence), said)


def believed(failure: Failure, sent: Sequence[bytes | memoryview]) -> Failure:
    """Return a failure as its status tells it where the words that told it were sent with the request.

    Providers quote what they refuse ("Invalid value: 'insufficient balance'"): no client may put a credential
    out of use for all by saying so. What says less against a credential stays: without its words a status may say more.
    """
    if not failure.evidence or failure.kind not in (FaultKind.AUTH, FaultKind.BILLING):
        return failure
    if not any(failure.evidence in _plainly(piece).lower() for piece in sent):
        return failure
    kind = BY_STATUS.get(failure.status or 0, FaultKind.SERVER)
    return replace(failure, kind=kind, evidence="")


def _plainly(piece: bytes | memoryview) -> str:
    """Return what a body says, without the escapes that JSON has for any letter."""
    try:
        return orjson.dumps(json_text.loads(bytes(piece))).decode()
    except orjson.JSONDecodeError:
        return bytes(piece).decode("utf-8", "replace")


def _by_status(said: Said) -> FaultKind:
    if said.status is None or said.status >= 500:
        return BY_STATUS.get(said.status or 0, FaultKind.SERVER)
    kind = BY_STATUS.get(said.status, FaultKind.PROTOCOL)
    return FaultKind.PROTOCOL if kind in _NEEDS_WORDS and not said.is_error else kind


def _with_message(failure: Failure, said: Said) -> Failure:
    if failure.kind not in CLIENT_FAULTS:
        return failure
    return replace(failure, message=scrub.scrub(said.message), param=scrub.param(said.param))


# Reading an error reply --------------------------------------------------------------------------


def _parsed(body: bytes) -> Any:
    """Bodies are read by content: a JSON error comes as text/plain, octet-stream and event-stream too."""
    try:
        return json_text.loads(body.strip().removeprefix(b"data:"))
    except orjson.JSONDecodeError:
        return None


def _said(payload: Any, status: int | None, headers: Mapping[str, str]) -> Said:
    if isinstance(payload, list) and payload:
        payload = payload[0]  # Gemini's OpenAI-compatible surface wraps it
    top = payload if isinstance(payload, dict) else {}
    error = top.get("error", top)
    if isinstance(error, str):
        error = {**top, "message": top.get("message") or error}
    fields = error if isinstance(error, dict) else {}
    message = fields.get("message") or top.get("message") or top.get("detail") or ""
    message = message if isinstance(message, str) else orjson.dumps(message).decode()
    return Said(
        status=status,
        words=frozenset(word.lower() for word in islice(_words(top, fields), MAX_WORDS)),
        text=message.lower(),
        message=message,
        code=_first(fields.get("code"), fields.get("type"), fields.get("status"), top.get("code")),
        param=fields.get("param"),
        headers=headers,
        is_error=bool(message) or bool(fields.get("code") or fields.get("type")),
    )


def _words(top: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterable[str]:
    yield from _texts(fields.get("code"), fields.get("type"), fields.get("status"), top.get("code"))
    details = fields.get("details")
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, dict):
            yield from _texts(*detail.values())
        else:
            yield from _texts(detail)
    inner = fields.get("innererror")
    if isinstance(inner, dict):
        yield from _texts(inner.get("code"))


def _texts(*values: object) -> Iterable[str]:
    return (str(value) for value in values if isinstance(value, str | int) and value and not isinstance(value, bool))


def _first(*values: object) -> object:
    return next((value for value in values if value), None)


# When to come back -------------------------------------------------------------------------------

_IN_TEXT = re.compile(
    r"(?:try again|retry|available) (?:in|after) ((?:\d{1,6}(?:\.\d{1,6})?\s?(?:ms|h|m|s)[a-z]*\s?)+)", re.IGNORECASE
)
_SPAN = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s?(ms|h|m|s)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def retry_after(headers: Mapping[str, str], message: str = "") -> float | None:
    """Return the seconds after which a provider wants to be asked again, at most a day, or None.

    ``retry-after-ms`` (OpenAI, Azure), ``retry-after`` as seconds or as a date (against the
    reply's own ``date``, so that no clock is needed), else the text ("try again in 1m19.1s").
    """
    for found in (_scaled(headers.get("retry-after-ms"), 0.001), _header(headers), _in_text(message)):
        if found is not None:
            return min(max(found, 0.0), MAX_RETRY_AFTER_S)
    return None


def _scaled(value: str | None, scale: float) -> float | None:
    if value is None or not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", value.strip(), re.ASCII):
        return None
    return float(value) * scale


def _header(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after")
    seconds = _scaled(value, 1.0)
    if seconds is not None or value is None:
        return seconds
    try:
        return (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _in_text(message: str) -> float | None:
    match = _IN_TEXT.search(message)
    if match is None:
        return None
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in _SPAN.findall(match.group(1)))
