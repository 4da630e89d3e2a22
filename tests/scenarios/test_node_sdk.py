"""The official ``openai`` package for Node against the gateway: one run of ``tests/node/client.mjs``, judged here.

The package comes as ``tests/node/package-lock.json`` pins it, into ``tests/node/node_modules``.
"""

import base64
import json
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import npm
from tests.fakes.upstream import (
    DONE,
    Cut,
    FakeUpstream,
    Pause,
    json_reply,
    openai_chat,
    openai_chunk,
    openai_embeddings,
    openai_error,
    openai_stream,
    openai_tool_call,
    openai_usage,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home
from tests.npm import DEADLINE_S, NODE, NPM
from tokenhub.operations import accounts, keys

FOLDER = Path(__file__).parents[1] / "node"

pytestmark = pytest.mark.skipif(NODE is None or NPM is None, reason="no Node.js: node and npm are not on the PATH")

MODEL = "gpt-4o-mini"
LEAVING_S = 3.0
"""How long a stream waits for its client to leave."""


def streamed_tool_call() -> list[bytes]:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    return [
        openai_chunk({"role": "assistant", "content": None, "tool_calls": [first]}),
        openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
        openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]}),
        openai_chunk({}, "tool_calls"),
        DONE,
    ]


def scripted(fake: FakeUpstream) -> None:
    """Put the upstream's replies down in the order in which the client asks."""
    packed = base64.b64encode(struct.pack("<3f", 0.5, -0.25, 0.125)).decode()
    left = openai_stream(["Par", "is."], usage=openai_usage(12, 3))
    fake.add(
        json_reply(openai_chat("Paris.", usage=openai_usage(12, 3))),
        sse_reply(openai_stream(["Par", "is."], usage=openai_usage(12, 3))),
        sse_reply(openai_stream(["Par", "is."])),
        json_reply(openai_chat(None, tool_calls=[openai_tool_call()], finish_reason="tool_calls")),
        json_reply(openai_chat("Sunny.")),
        sse_reply(streamed_tool_call()),
        json_reply(openai_embeddings([packed, packed], prompt=7)),
        json_reply(openai_embeddings([(0.5, -0.25, 0.125)], prompt=7)),
        sse_reply([*left[:2], Pause(LEAVING_S), *left[2:]]),
        json_reply(openai_chat("first of the slow key")),
        json_reply(openai_error("boom", "server_error"), status=500),
        sse_reply([*openai_stream(["One ", "two"])[:3], Cut()]),
    )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    running = start_gateway(temporary_home(tmp_path_factory.mktemp("node")))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def report(gateway: RunningGateway) -> Iterator[dict[str, Any]]:
    assert NODE is not None
    npm.install(FOLDER)
    poor = accounts.create(gateway.hub, "poor").account.id
    own = {
        "POOR_KEY": keys.create(gateway.hub, poor).secret,
        "SLOW_KEY": gateway.add_key(rpm=1),
        "NARROW_KEY": gateway.add_key(models=("gpt-4o",)),
    }
    with FakeUpstream([]) as fake:
        scripted(fake)
        gateway.add_credential("openai", fake.url)
        done = subprocess.run(
            [NODE, str(FOLDER / "client.mjs"), gateway.base_url, gateway.key],
            env={"PATH": os.environ["PATH"], **own}, capture_output=True, text=True, timeout=DEADLINE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert not fake.replies, "the client asked less often than it should"
        yield json.loads(done.stdout) | {"sent": [one.json() for one in fake.received]}


def test_plain_chat(report: dict[str, Any]) -> None:
    assert report["chat"]["text"] == "Paris."
    assert report["chat"]["usage"]["total_tokens"] == 15
    assert report["chat"]["usage"]["cost_details"]["total"] == "0.000003708"
    assert report["chat"]["requestId"].startswith("req_")


def test_streamed_chat_with_usage(report: dict[str, Any]) -> None:
    assert (report["stream"]["text"], report["stream"]["finish"], report["stream"]["ids"]) == ("Paris.", ["stop"], 1)
    assert report["stream"]["usage"]["completion_tokens"] == 3
    assert report["stream"]["usage"]["cost_details"]["total"] == "0.000003708"


def test_stream_helper(report: dict[str, Any]) -> None:
    assert report["streamHelper"] == {"pieces": ["Par", "is."], "text": "Paris.", "finish": "stop"}


def test_tools_round_trip(report: dict[str, Any]) -> None:
    assert report["tools"] == {"call": openai_tool_call(), "finish": "tool_calls", "text": "Sunny."}
    assert {"role": "tool", "tool_call_id": "call_fake1", "content": "sun"} in report["sent"][4]["messages"]


def test_streamed_tool_call(report: dict[str, Any]) -> None:
    found = report["streamedTools"]
    assert (found["name"], found["arguments"]) == ("get_weather", '{"city":"Paris"}')


def test_embeddings_in_both_encodings(report: dict[str, Any]) -> None:
    assert report["embeddings"]["packed"] == [[0.5, -0.25, 0.125]] * 2
    assert report["embeddings"]["plain"] == [0.5, -0.25, 0.125]
    assert report["embeddings"]["usage"]["cost_details"]["model_fee"] == "0.00000014"


def test_models(report: dict[str, Any]) -> None:
    assert MODEL in report["models"]["ids"]
    assert report["models"]["one"]["id"] == MODEL
    assert report["models"]["one"]["pricing"]["prompt"] == "0.00000015"


def test_a_client_that_leaves_mid_stream_is_charged_what_was_made(
    report: dict[str, Any], gateway: RunningGateway
) -> None:
    assert report["left"] is True
    ended = {row["duration_ms"] >= LEAVING_S * 1000: row for row in gateway.settled(12, 60)}
    assert (ended[True]["end"], ended[True]["charged"]) == ("settled", 3708)


@pytest.mark.parametrize(
    ("step", "name", "status", "code"),
    [
        ("authentication", "AuthenticationError", 401, "authentication_error"),
        ("notFound", "NotFoundError", 404, "model_not_found"),
        ("badRequest", "BadRequestError", 400, "invalid_request_error"),
        ("credit", "APIError", 402, "insufficient_credits"),
        ("permission", "PermissionDeniedError", 403, "permission_denied"),
        ("rateLimit", "RateLimitError", 429, "rate_limit_exceeded"),
        ("upstream", "InternalServerError", 502, "upstream_error"),
    ],
)
def test_refusals_are_the_packages_typed_errors(
    report: dict[str, Any], step: str, name: str, status: int, code: str
) -> None:
    found = report["errors"][step]
    assert found["isApiError"], found
    assert (found["name"], found["status"], found["code"]) == (name, status, code)
    assert found["requestId"].startswith("req_")


def test_a_rate_limit_says_when_to_come_back(report: dict[str, Any]) -> None:
    assert 1 <= int(report["errors"]["rateLimit"]["retryAfter"]) <= 61


def test_a_broken_stream_raises(report: dict[str, Any]) -> None:
    assert report["errors"]["broken"]["isApiError"]
    assert report["errors"]["broken"]["code"] == "upstream_error"
