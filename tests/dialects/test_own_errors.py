"""What the gateway itself refuses, in the form of each dialect."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.dialects import stories
from tests.dialects.rig import CLIENTS, Rig, open_rig
from tests.dialects.story import Ask
from tests.dialects.test_matrix import assert_error

pytestmark = [
    pytest.mark.parametrize("dialect", CLIENTS),
    pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"]),
]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("errors")) as opened:
        yield opened


def refused(rig: Rig, dialect: str, asked: Ask, status: int, code: str) -> None:
    answer = rig.send(asked)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert_error(CLIENTS[dialect], answer.json(), status, code, answer.headers["x-request-id"])
    assert not rig.fake.received


def test_a_key_that_is_not_known(rig: Rig, dialect: str, stream: bool) -> None:
    asked = CLIENTS[dialect].ask(stories.TALK, "plain-chat", "th-" + "0" * 64, stream=stream)
    refused(rig, dialect, asked, 401, "authentication_error")


def test_a_model_that_is_not_known(rig: Rig, dialect: str, stream: bool) -> None:
    asked = CLIENTS[dialect].ask(stories.TALK, "no-such-model", rig.gateway.key, stream=stream)
    refused(rig, dialect, asked, 404, "model_not_found")


def test_a_key_without_credit(rig: Rig, dialect: str, stream: bool) -> None:
    key = rig.gateway.add_key(spend_limit_nano=1)
    asked = CLIENTS[dialect].ask(stories.TALK, "plain-chat", key, stream=stream)
    refused(rig, dialect, asked, 402, "insufficient_credits")


def test_a_body_that_is_no_conversation(rig: Rig, dialect: str, stream: bool) -> None:
    asked = CLIENTS[dialect].ask(stories.TALK, "plain-chat", rig.gateway.key, stream=stream)
    member = next(name for name in ("messages", "input", "contents") if name in asked.body)
    refused(rig, dialect, replace(asked, body={**asked.body, member: 7}), 400, "invalid_request_error")


def test_a_body_that_is_no_json(rig: Rig, dialect: str, stream: bool) -> None:
    asked = CLIENTS[dialect].ask(stories.TALK, "plain-chat", rig.gateway.key, stream=stream)
    answer = rig.gateway.call(
        "POST", asked.path, json.dumps(asked.body).encode()[:-1], {**asked.headers, "Content-Type": "application/json"}
    )
    assert answer.status == 400
    assert_error(CLIENTS[dialect], answer.json(), 400, "invalid_json", answer.headers["x-request-id"])


def test_both_places_for_a_key_are_taken(rig: Rig, dialect: str, stream: bool) -> None:
    asked = CLIENTS[dialect].ask(stories.TALK, "no-such-model", "", stream=stream)
    for headers in ({"Authorization": f"Bearer {rig.gateway.key}"}, {"x-api-key": rig.gateway.key}):
        refused(rig, dialect, replace(asked, headers=headers), 404, "model_not_found")
