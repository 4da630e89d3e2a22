"""Google's error bodies: read in every wrapping, sorted by whose fault they are."""

import json
from typing import Any

import pytest

from tokenhub.wire.faults import FaultKind
from tokenhub.wire.gemini.errors import GeminiError, classify, parse_error


def body(code: int = 400, status: str = "INVALID_ARGUMENT", message: str = "words", *details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def reason(word: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word, "domain": "googleapis.com"}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
PER_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "RequestsPerDayPerModel"}],
}
PER_MINUTE = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "RequestsPerMinute"}, 7],
}


def test_everything_an_error_says_is_read() -> None:
    error = parse_error(body(429, "RESOURCE_EXHAUSTED", "slow down", reason("RATE_LIMIT_EXCEEDED"), PER_MINUTE, RETRY))
    assert error == GeminiError(
        429, "RESOURCE_EXHAUSTED", "slow down", ("RATE_LIMIT_EXCEEDED",), ("RequestsPerMinute",), 34.4
    )


def test_bare_wrapped_and_parsed_bodies_read_the_same() -> None:
    plain = body(503, "UNAVAILABLE", "overloaded")
    expected = parse_error(plain)
    text = json.dumps(plain, indent=2)
    for form in (text, text.encode(), bytearray(text.encode()), f"[{text}\r\n]".encode(), [plain], [{}, plain]):
        assert parse_error(form) == expected


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b"{}", b"[]", b"7", b'{"error": "text"}', b'{"error": null}', b"[[]]", None, 7, b"\xff"]
)
def test_what_is_no_error_body_is_none(raw: Any) -> None:
    assert parse_error(raw) is None


@pytest.mark.parametrize("member", ["code", "message", "status", "details"])
@pytest.mark.parametrize(
    "value", [None, 7, 2.5, True, "x", [], {}, [7], [{"reason": 7, "violations": 7, "retryDelay": 7}]]
)
def test_odd_members_of_an_error_body_break_nothing(member: str, value: Any) -> None:
    odd = body(400, "INVALID_ARGUMENT", "words")
    odd["error"][member] = value
    assert classify(parse_error(odd), 400).status == 400


def test_the_wait_is_found_in_the_message_where_the_details_have_none() -> None:
    error = parse_error(body(429, "RESOURCE_EXHAUSTED", "Quota exceeded. Please retry in 48.939935699s."))
    assert error is not None
    assert error.retry_after_s == pytest.approx(48.94, abs=0.01)
    assert classify(error, 429).retry_after_s == error.retry_after_s


@pytest.mark.parametrize(
    ("status", "raw", "kind"),
    [
        (400, body(400, "INVALID_ARGUMENT", "bad field"), FaultKind.BAD_REQUEST),
        (400, body(400, "INVALID_ARGUMENT", "API key not valid.", reason("API_KEY_INVALID")), FaultKind.AUTH),
        (400, body(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."), FaultKind.AUTH),
        (
            400,
            body(
                400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."
            ),
            FaultKind.CONTEXT,
        ),
        (400, body(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), FaultKind.GEO),
        (400, body(400, "FAILED_PRECONDITION", "Please enable billing on your project."), FaultKind.BILLING),
        (401, body(401, "UNAUTHENTICATED", "no"), FaultKind.AUTH),
        (402, body(402, "RESOURCE_EXHAUSTED", "empty"), FaultKind.BILLING),
        (403, body(403, "PERMISSION_DENIED", "reported as leaked"), FaultKind.AUTH),
        (403, body(403, "PERMISSION_DENIED", "off", reason("SERVICE_DISABLED")), FaultKind.AUTH),
        (404, body(404, "NOT_FOUND", "models/x is not found"), FaultKind.MODEL_GONE),
        (429, body(429, "RESOURCE_EXHAUSTED", "quota", PER_MINUTE, RETRY), FaultKind.RATE),
        (429, body(429, "RESOURCE_EXHAUSTED", "quota", PER_DAY), FaultKind.BILLING),
        (429, body(429, "RESOURCE_EXHAUSTED", "Your project exceeded its monthly spend cap."), FaultKind.BILLING),
        (500, body(500, "INTERNAL", "oops"), FaultKind.SERVER),
        (503, body(503, "UNAVAILABLE", "overloaded"), FaultKind.OVERLOAD),
        (504, body(504, "DEADLINE_EXCEEDED", "slow"), FaultKind.OVERLOAD),
        (None, body(499, "CANCELLED", "cancelled"), FaultKind.SERVER),
        (None, body(503, "UNAVAILABLE", "overloaded"), FaultKind.OVERLOAD),
        (502, None, FaultKind.SERVER),
        (302, None, FaultKind.PROTOCOL),
        (None, None, FaultKind.PROTOCOL),
    ],
)
def test_errors_are_sorted_by_status_reason_and_text(status: int | None, raw: Any, kind: FaultKind) -> None:
    failure = classify(parse_error(raw), status)
    assert failure.kind is kind
    assert failure.message == "", "words of an upstream are added, scrubbed, elsewhere"


def test_t112_a_status_that_is_a_text_is_no_code_word() -> None:
    failure = classify(parse_error(body(400, "IN VALID\r\n<b>" + "X" * 100)), 400)
    assert failure.code == ""
