"""The Messages surface: facts of a call, errors in Anthropic's form."""

import orjson
import pytest

from tokenhub import errors
from tokenhub.call import Capability, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.wire.messages.surface import MessagesSurface
from tokenhub.wire.surface import Arrival

BODY = {
    "model": "m",
    "max_tokens": 64,
    "stream": True,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    "tools": [{"name": "t", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
}


def surface(**headers):
    return MessagesSurface(Arrival("/v1/messages", {}, headers, 1_763_800_000))


def test_call_has_the_facts_that_admission_needs():
    call, inside = surface(**{"anthropic-beta": "one-2025-01-01, two-2026-01-01"}).call(BODY, 321)
    assert (call.capability, call.wire, call.model, call.stream) == (Capability.CHAT, Wire.MESSAGES, "m", True)
    assert (call.max_output, call.input_bytes, call.messages, call.choices) == (64, 321, 1, 1)
    assert (call.uses_tools, call.one_tool_call) == (True, True)
    assert (call.include_usage, call.created_s) == (False, 1_763_800_000)
    assert call.betas == ("one-2025-01-01", "two-2026-01-01")
    assert inside["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_tokens", 0), ("max_tokens", "9"), ("temperature", 7), ("stream", 1), ("model", ""), ("api_base", "x")],
)
def test_t51_field_of_a_wrong_kind_is_refused_by_name(field, value):
    with pytest.raises(InvalidRequest) as refused:
        surface().call({**BODY, field: value}, 100)
    assert refused.value.param == field


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "container_upload", "file_id": "file_1"},
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "image", "source": {"type": "file", "file_id": "file_1"}}],
        },
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]},
        },
    ],
)
def test_files_in_the_operators_own_store_are_out_of_reach(block):
    with pytest.raises(InvalidRequest, match="stored at a provider"):
        surface().call({**BODY, "messages": [{"role": "user", "content": [block]}]}, 100)


ERRORS = [
    (errors.InvalidRequest, 400, "invalid_request_error"),
    (errors.AuthenticationFailed, 401, "authentication_error"),
    (errors.InsufficientCredits, 402, "billing_error"),
    (errors.PermissionDenied, 403, "permission_error"),
    (errors.ModelNotFound, 404, "not_found_error"),
    (errors.MethodNotAllowed, 405, "invalid_request_error"),
    (errors.RequestTimeout, 408, "timeout_error"),
    (errors.RequestTooLarge, 413, "request_too_large"),
    (errors.UnsupportedMediaType, 415, "invalid_request_error"),
    (errors.RateLimited, 429, "rate_limit_error"),
    (errors.InternalError, 500, "api_error"),
    (errors.UpstreamFailed, 502, "api_error"),
    (errors.Unavailable, 503, "overloaded_error"),
    (errors.UpstreamTimeout, 504, "timeout_error"),
]


@pytest.mark.parametrize(("error", "status", "word"), ERRORS, ids=lambda value: getattr(value, "__name__", None))
def test_error_has_anthropics_word_and_all_that_is_known(error, status, word):
    made = error("What is wrong.", code="a_code", param="a_field", metadata={"provider": "p"})
    assert made.status == status
    body = surface().error(made, "req_1")
    assert body == {
        "type": "error",
        "error": {
            "type": word,
            "message": "What is wrong.",
            "code": "a_code",
            "param": "a_field",
            "metadata": {"provider": "p"},
        },
        "request_id": "req_1",
    }
    frame = surface().error_frame(made, "req_1")
    assert frame == b"event: error\ndata: " + orjson.dumps(body) + b"\n\n"


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
def test_thread_is_refused_in_the_words_by_which_anthropics_tool_runner_goes_on_without(thread):
    with pytest.raises(errors.InvalidRequest) as refused:
        surface().call(
            {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "thread": thread}, 1
        )
    told = surface().error(refused.value, "req_1")["error"]
    assert (told["code"], told["details"]["error_code"]) == ("unsupported_parameter", "thread_unsupported_request")


def test_silence_is_broken_by_a_ping():
    assert surface().keep_alive == b'event: ping\ndata: {"type": "ping"}\n\n'
