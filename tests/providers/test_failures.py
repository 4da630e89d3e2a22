"""Every provider's refusals, sorted; nothing secret in what is kept of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.upstream import anthropic_error, gemini_error, openai_error
from tokenhub.providers import failures, scrub
from tokenhub.wire.faults import CLIENT_FAULTS, Failure, FaultKind

K = FaultKind
RECORDED = Path(__file__).parents[2] / "../shared/wire"
PROVIDER_IDS = {"dashscope": "alibaba"}


def classify(provider: str, status: int, body: Any, headers: dict[str, str] | None = None) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    if provider == "google":
        return failures.of_gemini(status, raw)
    return failures.classify(provider, status, headers or {}, raw)


def openai(type: str, code: str | None = None, message: str = "m") -> dict[str, Any]:
    return openai_error(message, type, code)


def zhipu(code: str, message: str = "m") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def native(code: str, message: str = "m") -> dict[str, Any]:
    return {"code": code, "message": message, "request_id": "00000000-0000-0000-0000-000000000000"}


GEO = "User location is not supported for the API use."
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}

SAID: list[tuple[str, int, Any, FaultKind]] = [
    # OpenAI
    ("openai", 401, openai("invalid_request_error", "invalid_api_key"), K.AUTH),
    ("openai", 401, openai("invalid_request_error", "invalid_organization"), K.AUTH),
    (
        "openai",
        401,
        openai("invalid_request_error", "ip_not_authorized", "Your request was made from an IP not authorized"),
        K.AUTH,
    ),
    ("openai", 403, openai("request_forbidden", "unsupported_country_region_territory"), K.GEO),
    ("openai", 403, openai("request_forbidden", None, "Country, region, or territory not supported"), K.GEO),
    ("openai", 403, openai("invalid_request_error", "model_not_available_to_project"), K.AUTH),
    ("openai", 429, openai("insufficient_quota", "insufficient_quota", "You exceeded your current quota"), K.BILLING),
    ("openai", 429, openai("insufficient_quota", "credit_balance_exhausted"), K.BILLING),
    ("openai", 429, openai("insufficient_quota", "organization_spend_limit_exceeded"), K.BILLING),
    ("openai", 429, openai("insufficient_quota", "project_spend_limit_exceeded"), K.BILLING),
    ("openai", 429, openai("insufficient_quota", "organization_usage_limit_exceeded"), K.BILLING),
    ("openai", 429, openai("insufficient_quota", "billing_hard_limit_reached"), K.BILLING),
    ("openai", 429, openai("billing_not_active", "billing_not_active"), K.BILLING),
    ("openai", 429, openai("tokens", "rate_limit_exceeded"), K.RATE),
    (
        "openai",
        429,
        openai("tokens", "rate_limit_exceeded", "Request too large for gpt-4o in organization"),
        K.TOO_LARGE,
    ),
    (
        "groq",
        413,
        openai("tokens", "rate_limit_exceeded", "Request too large for model `m` in organization"),
        K.TOO_LARGE,
    ),
    ("openai", 429, openai("requests", "slow_down"), K.RATE),
    ("openai", 503, openai("service_unavailable_error", "slow_down"), K.OVERLOAD),
    ("openai", 503, openai("server_error", "server_is_overloaded"), K.OVERLOAD),
    ("openai", 503, openai("service_unavailable_error"), K.OVERLOAD),
    ("openai", 500, openai("server_error"), K.SERVER),
    ("openai", 404, openai("invalid_request_error", "model_not_found"), K.MODEL_GONE),
    ("openai", 400, openai("invalid_request_error", "context_length_exceeded"), K.CONTEXT),
    (
        "openai",
        400,
        openai("invalid_request_error", None, "This model's maximum context length is 128000 tokens."),
        K.CONTEXT,
    ),
    ("openai", 400, openai("image_generation_user_error", "moderation_blocked"), K.FILTER),
    ("openai", 400, openai("invalid_request_error", "content_policy_violation"), K.FILTER),
    (
        "openai",
        400,
        openai("invalid_request_error", "invalid_prompt", "flagged as potentially violating our usage policy"),
        K.FILTER,
    ),
    ("openai", 400, openai("invalid_request_error", "unsupported_parameter"), K.BAD_REQUEST),
    # Anthropic
    ("anthropic", 401, anthropic_error("authentication_error", "invalid x-api-key"), K.AUTH),
    ("anthropic", 402, anthropic_error("billing_error", "m"), K.BILLING),
    (
        "anthropic",
        400,
        anthropic_error("invalid_request_error", "Your credit balance is too low to access the API."),
        K.BILLING,
    ),
    (
        "anthropic",
        400,
        anthropic_error("invalid_request_error", "You have reached your specified API usage limits."),
        K.BILLING,
    ),
    (
        "anthropic",
        400,
        anthropic_error("invalid_request_error", "You have reached your specified workspace API usage limits."),
        K.BILLING,
    ),
    ("anthropic", 403, anthropic_error("permission_error", "m"), K.AUTH),
    ("anthropic", 403, {"error": {"type": "forbidden", "message": "Request not allowed"}}, K.GEO),
    ("anthropic", 413, anthropic_error("request_too_large", "m"), K.CONTEXT),
    ("anthropic", 400, anthropic_error("invalid_request_error", "prompt is too long: 3 tokens > 2 maximum"), K.CONTEXT),
    ("anthropic", 500, anthropic_error("api_error", "m"), K.OVERLOAD),
    ("anthropic", 504, anthropic_error("timeout_error", "m"), K.OVERLOAD),
    ("anthropic", 529, anthropic_error("overloaded_error", "Overloaded"), K.OVERLOAD),
    ("anthropic", 404, anthropic_error("not_found_error", "model: claude-gone"), K.MODEL_GONE),
    (
        "anthropic",
        400,
        anthropic_error("invalid_request_error", "messages.1: `thinking` blocks cannot be modified"),
        K.BAD_REQUEST,
    ),
    # Gemini
    (
        "google",
        400,
        gemini_error(400, "INVALID_ARGUMENT", "API key not valid", [{"reason": "API_KEY_INVALID"}]),
        K.AUTH,
    ),
    ("google", 400, gemini_error(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."), K.AUTH),
    ("google", 403, gemini_error(403, "PERMISSION_DENIED", "Your API key was reported as leaked."), K.AUTH),
    ("google", 403, gemini_error(403, "PERMISSION_DENIED", "m", [{"reason": "SERVICE_DISABLED"}]), K.AUTH),
    ("google", 400, gemini_error(400, "FAILED_PRECONDITION", GEO), K.GEO),
    ("google", 402, gemini_error(402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."), K.BILLING),
    (
        "google",
        429,
        gemini_error(429, "RESOURCE_EXHAUSTED", "m", [{"violations": [{"quotaId": "RequestsPerDayPerProject"}]}]),
        K.BILLING,
    ),
    ("google", 429, gemini_error(429, "RESOURCE_EXHAUSTED", "m", [RETRY_INFO]), K.RATE),
    ("google", 503, gemini_error(503, "UNAVAILABLE", "The model is overloaded."), K.OVERLOAD),
    ("google", 500, gemini_error(500, "INTERNAL", "m"), K.SERVER),
    ("google", 504, gemini_error(504, "DEADLINE_EXCEEDED", "m"), K.OVERLOAD),
    ("google", 404, gemini_error(404, "NOT_FOUND", "models/x is not found"), K.MODEL_GONE),
    ("google", 400, gemini_error(400, "INVALID_ARGUMENT", "Invalid JSON payload"), K.BAD_REQUEST),
    ("google", 502, b"<html>bad gateway</html>", K.SERVER),
    # DeepSeek
    ("deepseek", 401, openai("authentication_error", "invalid_request_error"), K.AUTH),
    ("deepseek", 402, openai("unknown_error", "invalid_request_error", "Insufficient Balance"), K.BILLING),
    ("deepseek", 422, openai("invalid_request_error"), K.BAD_REQUEST),
    ("deepseek", 429, openai("rate_limit_error"), K.RATE),
    ("deepseek", 400, openai("invalid_request_error", None, "Content Exists Risk"), K.FILTER),
    ("deepseek", 500, openai("server_error"), K.SERVER),
    ("deepseek", 503, openai("server_error"), K.OVERLOAD),
    # Moonshot
    ("moonshot", 401, openai("invalid_authentication_error"), K.AUTH),
    ("moonshot", 401, openai("incorrect_api_key_error"), K.AUTH),
    ("moonshot", 429, openai("exceeded_current_quota_error"), K.BILLING),
    ("moonshot", 403, openai("forbidden", None, "Your account is suspended, please check your balance"), K.BILLING),
    ("moonshot", 429, openai("rate_limit_reached_error"), K.RATE),
    ("moonshot", 429, openai("engine_overloaded_error"), K.OVERLOAD),
    ("moonshot", 400, openai("content_filter"), K.FILTER),
    (
        "moonshot",
        400,
        openai("invalid_request_error", None, "Your request exceeded model token limit: 262144"),
        K.CONTEXT,
    ),
    ("moonshot", 404, openai("resource_not_found_error"), K.MODEL_GONE),
    # Alibaba: the same words as OpenAI's with another meaning
    ("alibaba", 401, native("InvalidApiKey"), K.AUTH),
    ("alibaba", 401, openai("invalid_request_error", "invalid_api_key"), K.AUTH),
    ("alibaba", 400, native("Arrearage"), K.BILLING),
    ("alibaba", 400, openai("Arrearage", "Arrearage"), K.BILLING),
    ("alibaba", 403, native("AccessDenied.Unpurchased"), K.BILLING),
    ("alibaba", 403, native("AllocationQuota.FreeTierOnly"), K.BILLING),
    ("alibaba", 429, openai("insufficient_quota", "insufficient_quota", "You exceeded your current quota"), K.RATE),
    ("alibaba", 429, native("Throttling.AllocationQuota", "Allocated quota exceeded"), K.RATE),
    ("alibaba", 429, native("Throttling.AllocationQuota", "Free allocated quota exceeded."), K.BILLING),
    ("alibaba", 429, native("Throttling.RateQuota"), K.RATE),
    ("alibaba", 429, openai("limit_requests", "limit_requests"), K.RATE),
    ("alibaba", 400, native("DataInspectionFailed"), K.FILTER),
    ("alibaba", 400, openai("data_inspection_failed", "data_inspection_failed"), K.FILTER),
    ("alibaba", 404, openai("invalid_request_error", "model_not_found"), K.MODEL_GONE),
    ("alibaba", 404, native("ModelNotFound"), K.MODEL_GONE),
    ("alibaba", 403, native("Model.AccessDenied"), K.AUTH),
    ("alibaba", 400, native("InvalidParameter", "Range of input length should be [1, 30720]"), K.CONTEXT),
    # Zhipu: only the business code says what a 429 is
    *(("zhipu", 401, zhipu(code), K.AUTH) for code in ("1000", "1001", "1002", "1003", "1004", "1005")),
    *(
        ("zhipu", 429, zhipu(code), K.BILLING)
        for code in ("1110", "1111", "1112", "1113", "1120", "1121", "1304", "1308", "1309", "1310", "1311")
    ),
    *(("zhipu", 429, zhipu(code), K.RATE) for code in ("1302", "1303", "1313")),
    *(("zhipu", 429, zhipu(code), K.OVERLOAD) for code in ("1305", "1312")),
    ("zhipu", 400, zhipu("1301"), K.FILTER),
    ("zhipu", 400, zhipu("1211"), K.MODEL_GONE),
    ("zhipu", 400, zhipu("1221"), K.MODEL_GONE),
    ("zhipu", 400, zhipu("1261"), K.CONTEXT),
    ("zhipu", 400, zhipu("1210"), K.BAD_REQUEST),
    ("zhipu", 400, zhipu("1214"), K.BAD_REQUEST),
    ("zhipu", 500, zhipu("500"), K.SERVER),
    ("zhipu", 500, zhipu("1234"), K.SERVER),
    # OpenRouter
    ("openrouter", 401, zhipu("401"), K.AUTH),
    ("openrouter", 402, {"error": {"code": 402, "message": "Insufficient credits"}}, K.BILLING),
    (
        "openrouter",
        402,
        {"error": {"code": 402, "message": "Your in-flight requests hold the rest of your credits"}},
        K.RATE,
    ),
    ("openrouter", 403, {"error": {"code": 403, "message": "Your input was flagged"}}, K.FILTER),
    ("openrouter", 408, {"error": {"code": 408, "message": "m"}}, K.TIMEOUT),
    ("openrouter", 429, {"error": {"code": 429, "message": "m"}}, K.RATE),
    ("openrouter", 502, {"error": {"code": 502, "message": "m"}}, K.OVERLOAD),
    ("openrouter", 503, {"error": {"code": 503, "message": "No providers available"}}, K.OVERLOAD),
    # Azure, Mistral
    (
        "azure",
        400,
        {"error": {"code": "content_filter", "message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        K.FILTER,
    ),
    ("azure", 404, {"error": {"code": "DeploymentNotFound", "message": "m"}}, K.MODEL_GONE),
    ("azure", 429, {"error": {"code": "429", "message": "m"}}, K.RATE),
    ("mistral", 422, {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs are not permitted"}]}, K.BAD_REQUEST),
    (
        "mistral",
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
        K.MODEL_GONE,
    ),
    ("mistral", 401, {"detail": "Unauthorized"}, K.AUTH),
    # Anyone
    ("own", 400, openai("x", None, "Your credit balance is too low"), K.BILLING),
    ("own", 403, {"error": {"message": "用户余额不足"}}, K.BILLING),
    ("own", 403, {"error": {"message": "账户欠费"}}, K.BILLING),
    ("own", 429, openai("x", None, "You exceeded your current quota"), K.BILLING),
    (
        "own",
        400,
        openai("exceed_context_size_error", None, "the request exceeds the available context size"),
        K.CONTEXT,
    ),
    ("own", 404, openai("NotFoundError", None, "The model `x` does not exist."), K.MODEL_GONE),
    ("own", 404, b"404 page not found", K.PROTOCOL),
    ("own", 400, b"<html><h1>400 Bad Request</h1></html>", K.PROTOCOL),
    ("own", 403, b"<html>Attention Required! | Cloudflare</html>", K.PROTOCOL),
    ("own", 401, b"", K.PROTOCOL),
    ("own", 413, b"<html>413 Request Entity Too Large</html>", K.CONTEXT),
    ("own", 429, b"", K.RATE),
    ("own", 400, {"error": "model is required"}, K.BAD_REQUEST),
    ("own", 503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, K.OVERLOAD),
]


@pytest.mark.parametrize(("provider", "status", "body", "kind"), SAID)
def test_t76_a_providers_refusal_is_sorted(provider: str, status: int, body: Any, kind: FaultKind) -> None:
    headers = {"retry-after": "3"} if status == 429 else {}
    failure = classify(provider, status, body, headers)
    assert failure.kind is kind
    assert failure.status == status
    assert bool(failure.message) is (kind in CLIENT_FAULTS and not (isinstance(body, bytes)))


BY_STATUS = {
    400: K.BAD_REQUEST, 401: K.AUTH, 402: K.BILLING, 403: K.AUTH, 404: K.MODEL_GONE, 405: K.PROTOCOL, 408: K.TIMEOUT, 409: K.PROTOCOL,
    410: K.MODEL_GONE, 413: K.CONTEXT, 415: K.PROTOCOL, 418: K.PROTOCOL, 422: K.BAD_REQUEST, 425: K.OVERLOAD, 429: K.RATE, 451: K.GEO,
    499: K.PROTOCOL, 500: K.SERVER, 501: K.SERVER, 502: K.SERVER, 503: K.OVERLOAD, 504: K.TIMEOUT, 520: K.SERVER, 522: K.CONNECT,
    524: K.TIMEOUT, 529: K.OVERLOAD, 599: K.SERVER,
}  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), BY_STATUS.items())
def test_t76_a_status_alone_says_enough(status: int, kind: FaultKind) -> None:
    assert classify("own", status, {"error": {"message": "something"}}).kind is kind


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, K.BILLING),
        ({"retry-after": "12"}, K.RATE),
        ({"x-should-retry": "true"}, K.RATE),
        ({"x-should-retry": "false"}, K.BILLING),
    ],
)
def test_t76_at_anthropic_a_429_that_does_not_say_when_is_a_spend_cap(headers: dict[str, str], kind: FaultKind) -> None:
    assert classify("anthropic", 429, anthropic_error("rate_limit_error", "m"), headers).kind is kind


def test_t76_a_spend_cap_in_the_details_is_one_whatever_else_is_said() -> None:
    body = {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "m", "details": {"reason": "enforced_spend_limit_reached"}},
    }
    assert classify("anthropic", 429, body, {"retry-after": "5"}).kind is K.BILLING


@pytest.mark.parametrize(
    ("provider", "payload", "kind"),
    [
        ("openai", openai("server_error", "server_error"), K.SERVER),
        ("openai", openai("insufficient_quota", "insufficient_quota"), K.BILLING),
        ("openai", openai("tokens", "rate_limit_exceeded"), K.RATE),
        ("anthropic", anthropic_error("overloaded_error", "Overloaded"), K.OVERLOAD),
        ("anthropic", anthropic_error("api_error", "m"), K.OVERLOAD),
        ("anthropic", anthropic_error("rate_limit_error", "m"), K.RATE),
        ("alibaba", native("DataInspectionFailed"), K.FILTER),
        ("zhipu", zhipu("1302"), K.RATE),
        ("openrouter", {"error": {"code": 502, "message": "m"}}, K.OVERLOAD),
        ("openrouter", {"error": {"code": 429, "message": "m"}}, K.RATE),
        ("own", {"error": {"code": 400, "message": "m"}}, K.BAD_REQUEST),
        ("own", {"error": {"message": "m"}}, K.SERVER),
        ("own", {"error": "boom"}, K.SERVER),
        ("own", [], K.SERVER),
        ("own", None, K.SERVER),
    ],
)
def test_t74_an_error_inside_a_200_is_sorted_by_its_words(provider: str, payload: Any, kind: FaultKind) -> None:
    assert failures.of_payload(provider, payload).kind is kind


ODD_BODIES = [
    b"",
    b"null",
    b"[]",
    b"[1]",
    b"42",
    b'"text"',
    b"{",
    b"\xff\xfe",
    b'{"error": null}',
    b'{"error": []}',
    b'{"error": {"message": 5}}',
]


@pytest.mark.parametrize("body", ODD_BODIES)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "alibaba", "own"])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_t77_any_body_is_sorted_without_an_error(provider: str, status: int, body: bytes) -> None:
    failure = classify(provider, status, body)
    assert failure.status == status
    assert failure.kind not in CLIENT_FAULTS or failure.message is not None


# When to come back -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after": "0.5"}, "", 0.5),
        ({"retry-after": " 7 "}, "", 7.0),
        ({"retry-after-ms": "494", "retry-after": "1"}, "", 0.494),
        ({"retry-after": "Sun, 22 Nov 2026 06:01:30 GMT", "date": "Sun, 22 Nov 2026 06:00:00 GMT"}, "", 90.0),
        ({"retry-after": "Sun, 22 Nov 2026 05:00:00 GMT", "date": "Sun, 22 Nov 2026 06:00:00 GMT"}, "", 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 06:01:30 GMT"}, "", None),
        ({"retry-after": f"Sun, 22 Nov {'9' * 20} 06:01:30 GMT", "date": "Sun, 22 Nov 2026 06:00:00 GMT"}, "", None),
        ({"retry-after": "Sun, 22 Nov 2026 06:01:30 GMT", "date": f"Sun, 22 Nov 2026 06:00:00 +{'9' * 20}"}, "", None),
        ({"retry-after": "999999999"}, "", 86_400.0),
        ({"retry-after": "-5"}, "", None),
        ({"retry-after": "soon"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "1e9"}, "", None),
        ({"retry-after": "٣"}, "", None),
        ({}, "Rate limit reached. Please try again in 20s.", 20.0),
        ({}, "Please try again in 1m19.5s. Visit", 79.5),
        ({}, "Please try again in 6ms.", 0.006),
        ({}, "Please retry in 34.4s", 34.4),
        ({}, "try again later", None),
        ({}, "", None),
    ],
)
def test_when_a_provider_wants_to_be_asked_again(headers: dict[str, str], message: str, seconds: float | None) -> None:
    assert failures.retry_after(headers, message) == (None if seconds is None else pytest.approx(seconds))


def test_a_throttle_carries_its_wait_and_a_client_fault_none() -> None:
    headers = {"retry-after": "7"}
    assert classify("openai", 429, openai("tokens", "rate_limit_exceeded"), headers).retry_after_s == 7.0
    assert classify("openai", 400, openai("invalid_request_error"), headers).retry_after_s is None
    assert classify("google", 429, gemini_error(429, "RESOURCE_EXHAUSTED", "m", [RETRY_INFO])).retry_after_s == 17.0


# Nothing secret is kept --------------------------------------------------------------------------

CANARIES = {
    "OpenAI key": "sk-proj-Ab12Cd34Ef56Gh78Ij90",
    "Anthropic key": "sk-ant-api03-Xy12_Zw34-Qr56St78",
    "Google key": "AIzaSyD4n0tAR3alK3yButL00ksL1ke1t",
    "own key": "th-4fGh7Jk2Lm9Pq3Rs5Tv8Wx1Yz6Bc0Df",
    "Groq key": "gsk_abcdEFGH1234ijklMNOP5678",
    "starred key": "sk-p****************wxyz",
    "short starred key": "****-key",
    "bearer": "Bearer abc.def.ghi",
    "hex key": "5f4dcc3b5aa765d61d8327deb882cf99",
    "organisation": "org-Q7x2Kd9LmN3pRt5v",
    "project": "proj_9aB8cD7eF6gH",
    "request id": "req_011CWdN9puFcKqYXBieKVDvB",
    "uuid": "d7859a78-9d8f-44f2-9cab-0222b87b74de",
    "project number": "project_number:123456789012",
    "URL": "https://internal-gw.example.com/v1/admin?key=1",
    "e-mail": "someone@example.com",
    "IP": "10.12.13.14:8080",
    "internal host": "model-7.prod.internal",
    "host and port": "vllm-3.example.com:8000",
    "data URL": "data://x1/y2z3",
}


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES.keys())
@pytest.mark.parametrize("frame", ["{}", "Incorrect key provided: {}.", "see `{}` (or '{}')", "x={} y", "\n{}\t"])
def test_t113_secrets_ids_and_addresses_are_taken_out_of_a_text(canary: str, frame: str) -> None:
    shown = scrub.scrub(frame.replace("{}", canary))
    for piece in (canary, canary.removeprefix("Bearer ")):
        assert piece not in shown
    assert scrub.GAP in shown


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens for claude-3-5-sonnet-20241022",
        "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 5296372 bytes > 5242880 bytes",
        "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.",
        "Invalid schema for function 'get_weather': In context=('properties', 'city'), 'type' is not permitted.",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens.",
        "参数错误: 模型不支持该格式",
    ],
)
def test_t113_words_that_help_the_client_stay(text: str) -> None:
    assert scrub.scrub(text) == text


def test_t113_a_text_is_one_line_of_at_most_500_characters() -> None:
    shown = scrub.scrub("a\r\nb\x1b[31mc\u202ed\x00" + " word" * 500)
    assert shown.startswith("a b [31mc d ")
    assert len(shown) == 500
    assert shown.isprintable()


def error_shapes(canary: str) -> Iterator[tuple[str, int, Any]]:
    yield "openai", 400, {"error": {"message": f"bad {canary}", "type": canary, "param": canary, "code": canary}}
    yield (
        "openai",
        401,
        {"error": {"message": f"Incorrect API key provided: {canary}", "type": "x", "param": None, "code": canary}},
    )
    yield (
        "anthropic",
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": canary}, "request_id": canary},
    )
    yield (
        "anthropic",
        429,
        {"type": "error", "error": {"type": canary, "message": canary, "details": {"reason": canary}}},
    )
    yield (
        "google",
        400,
        gemini_error(400, "INVALID_ARGUMENT", canary, [{"reason": canary, "metadata": {"key": canary}}]),
    )
    yield "google", 403, gemini_error(403, canary, canary)
    yield "alibaba", 400, {"code": canary, "message": canary, "request_id": canary}
    yield "zhipu", 500, {"error": {"code": canary, "message": canary}, "contentFilter": [{"role": canary}]}
    yield "own", 400, {"detail": [{"loc": ["body", canary], "msg": canary}]}
    yield "own", 500, {"error": canary}
    yield "own", 400, canary.encode()


@pytest.mark.parametrize(
    "canary", [CANARIES[name] for name in ("OpenAI key", "Google key", "organisation", "URL", "e-mail", "uuid")]
)
def test_t113_no_canary_of_any_error_shape_is_kept(canary: str) -> None:
    for provider, status, body in error_shapes(canary):
        assert canary not in repr(classify(provider, status, body)), (provider, status)


@pytest.mark.parametrize("provider", ["openai", "alibaba", "google", "own"])
def test_t112_a_code_that_is_a_text_is_not_kept(provider: str) -> None:
    said = "Your prompt was: My name is Alice Smith"
    error = {"message": "m", "code": said, "type": said, "status": said}
    assert classify(provider, 500, {"error": error, "code": said}).code == ""


def test_a_code_that_is_a_text_gives_way_to_the_type() -> None:
    assert classify("own", 500, openai("server_error", "Something went wrong")).code == "server_error"


def test_t113_only_client_faults_keep_a_text() -> None:
    assert (
        classify("openai", 401, openai("invalid_request_error", "invalid_api_key", "words of the provider")).message
        == ""
    )
    assert (
        classify("openai", 400, openai("invalid_request_error", None, "words of the provider")).message
        == "words of the provider"
    )


# Recorded errors ---------------------------------------------------------------------------------

EXPECTED = [
    ("openai", 400, "model_not_found", K.MODEL_GONE),
    ("openai", 400, "", K.BAD_REQUEST),
    ("openai", 401, "", K.AUTH),
    ("openai", 404, "", K.MODEL_GONE),
    ("anthropic", 400, "prompt is too long", K.CONTEXT),
    ("anthropic", 400, "", K.BAD_REQUEST),
    ("anthropic", 401, "", K.AUTH),
    ("anthropic", 404, "", K.MODEL_GONE),
    ("anthropic", 429, "", K.RATE),
    ("anthropic", 529, "", K.OVERLOAD),
    ("google", 400, "API_KEY_INVALID", K.AUTH),
    ("google", 400, "Responsible AI", K.FILTER),
    ("google", 400, "", K.BAD_REQUEST),
    ("google", 403, "", K.AUTH),
    ("google", 404, "", K.MODEL_GONE),
    ("google", 429, "", K.RATE),
    ("deepseek", 400, "", K.BAD_REQUEST),
    ("deepseek", 401, "", K.AUTH),
    ("dashscope", 400, "Model not exist", K.MODEL_GONE),
    ("dashscope", 401, "", K.AUTH),
]


def recorded_errors() -> list[tuple[str, str, int, str]]:
    found = []
    for file in sorted(RECORDED.glob("*/*.json")):
        exchange = json.loads(file.read_text(encoding="utf-8"))
        response = exchange.get("response") or {}
        if response.get("status", 0) >= 400:
            text = response["body_text"] if "body_text" in response else json.dumps(response["body"])
            headers = {name.lower(): value for name, value in (response.get("headers") or {}).items()}
            found.append((exchange["provider"], json.dumps(headers), response["status"], text))
    return found


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the folder of recorded exchanges is not there")
def test_every_recorded_error_is_sorted() -> None:
    errors = recorded_errors()
    assert len(errors) >= 50
    for provider, headers, status, text in errors:
        kind = next(
            kind for name, code, needle, kind in EXPECTED if (name, code) == (provider, status) and needle in text
        )
        failure = classify(PROVIDER_IDS.get(provider, provider), status, text.encode(), json.loads(headers))
        assert failure.kind is kind, (provider, status, text[:200])
        assert bool(failure.message) is (kind in CLIENT_FAULTS)
        assert failure.code


QUOTED: list[tuple[str, int, Any]] = [
    ("openai", 400, openai("invalid_request_error", "invalid_value", "Invalid value: 'Insufficient balance'.")),
    ("unknown", 422, {"error": {"message": "Failed to fetch https://x.example/insufficient_balance.png", "code": 1}}),
    ("anthropic", 400, anthropic_error("invalid_request_error", "tag 'credit balance is too low' is not known")),
    ("google", 400, gemini_error(400, "INVALID_ARGUMENT", 'Unknown name "API key not valid": Cannot find field.')),
]


@pytest.mark.parametrize(("provider", "status", "body"), QUOTED)
def test_words_that_the_request_has_itself_are_no_proof_against_a_credential(
    provider: str, status: int, body: Any
) -> None:
    failure = classify(provider, status, body)
    assert failure.kind in (K.BILLING, K.AUTH)
    assert failures.believed(failure, [b'{"messages":[]}', b"other"]) is failure
    said = failure.evidence.title()
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in said)
    for sent in (f'{{"verbosity":"a {said}"}}', f'{{"verbosity":"{escaped}"}}', f"--b\r\n\r\n{said}\r\n"):
        assert failures.believed(failure, [b"{}", sent.encode()]) == Failure(K.BAD_REQUEST, status, failure.code)


def test_words_that_spare_a_credential_are_believed_in_any_case() -> None:
    """A 402 that passes by itself (T76): without its words it would be an unpaid account, for every prompt about flights."""
    failure = classify("openrouter", 402, {"error": {"code": 402, "message": "In-flight requests hold your credits"}})
    assert failure.kind is K.RATE
    assert failures.believed(failure, [b'{"messages":[{"role":"user","content":"An in-flight meal"}]}']) is failure


def test_what_a_code_says_is_proof_whatever_the_request_says() -> None:
    failure = classify("openai", 429, openai("insufficient_quota", "insufficient_quota", "exceeded your current quota"))
    assert failures.believed(failure, [b'"insufficient_quota exceeded your current quota"']) is failure


def test_an_item_that_is_not_kept_is_no_model_that_is_gone() -> None:
    """Anybody could send one, and take the model out for all."""
    gone = "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."
    error = openai_error(gone, "invalid_request_error", None)
    error["error"]["param"] = "input"
    assert classify("openai", 404, error).kind is K.BAD_REQUEST
    error["error"]["param"] = "model"
    assert classify("openai", 404, error).kind is K.MODEL_GONE
