"""Recorded speech, transcriptions, moderations and rerank, played to a running gateway and heard by OpenAI's own SDK.

The recordings lie beside the project and are not part of it; where they are absent these
tests are skipped, and ``tests/proxy/test_audio.py`` shows the same with replies made by hand.
"""

import io
import json
import random
from collections.abc import Iterator
from math import ceil
from typing import Any

import openai
import pytest

from tests.dialects.schemas import faults
from tests.fakes import sound
from tests.fakes.stage import FEE_BP
from tests.fakes.upstream import FakeUpstream, Reply, head, json_reply, sse_reply
from tests.harness import RunningGateway, start_gateway, temporary_home
from tests.scenarios.test_wire_replay import RECORDINGS, body_of, headers_of, recorded, select
from tokenhub.wire import multipart

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings (../shared/wire) are not here")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, FakeUpstream]]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("tasks")))
    with FakeUpstream([]) as fake:
        gateway.add_credential("openai", fake.url, region="global")
        gateway.add_credential("alibaba", fake.origin + "/compatible-mode/v1", region="cn-beijing")
        yield gateway, fake
        gateway.stop()


@pytest.fixture(scope="module")
def client(running: tuple[RunningGateway, FakeUpstream]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=running[0].base_url, api_key=running[0].key, max_retries=0) as made:
        yield made


def reply_of(recording: dict[str, Any], chance: random.Random) -> Reply:
    """The recorded bytes in a few pieces, as a network brings them."""
    body, headers = body_of(recording), headers_of(recording)
    places = sorted(chance.randrange(1, len(body)) for _ in range(3))
    pieces = [body[at:to] for at, to in zip([0, *places], [*places, len(body)], strict=True) if at < to]
    return [head(200, {**headers, "Transfer-Encoding": "chunked"}), *sse_reply(pieces)[1:]]


def assert_charged(row: dict[str, Any], model_fee_nano: int) -> None:
    assert (row["end"], row["estimated"], row["shortfall"]) == ("settled", 0, 0)
    assert (row["model_fee"], row["service_fee"]) == (model_fee_nano, ceil(model_fee_nano * FEE_BP / 10_000))
    assert row["held"] >= row["charged"]


AUDIO = select("audio")


def paths_of(suffix: str) -> list[Any]:
    return [param for param in AUDIO if recorded(param.values[0])["request"]["path"].endswith(suffix)]


@pytest.mark.parametrize("file", paths_of("/speech"))
def test_recorded_speech_reaches_the_sdk_byte_for_byte(
    running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI, file: str
) -> None:
    gateway, fake = running
    recording = recorded(file)
    sent = dict(recording["request"]["body"])
    # tts-1 is sent what was recorded; gpt-4o-mini-tts would be asked for events, which nobody recorded.
    fake.add(reply_of(recording, random.Random(recording["id"])))
    raw = client.audio.speech.with_raw_response.create(**(sent | {"model": "tts-1"}))
    assert raw.http_response.content == body_of(recording)
    wanted = sent.get("response_format", "mp3")
    assert raw.headers["content-type"] == recording["response"]["headers"]["content-type"] == {
        "mp3": "audio/mpeg",
        "pcm": "audio/pcm",
    }[wanted]  # fmt: skip
    assert_charged(gateway.row_of(raw), len(sent["input"]) * 15_000)
    assert fake.received[-1].json() == sent | {"model": "tts-1"}


@pytest.mark.parametrize("file", paths_of("/transcriptions"))
def test_recorded_transcriptions_reach_the_sdk_and_the_bill_as_they_were(
    running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI, file: str
) -> None:
    gateway, fake = running
    recording = recorded(file)
    fields = {one["name"]: one["value"] for one in recording["request"]["body"]["_multipart"] if "value" in one}
    recording_file = next(one for one in recording["request"]["body"]["_multipart"] if "filename" in one)
    said = sound.wav((recording_file["size"] - 44) / 48_000, rate=24_000)
    stream = fields.pop("stream", None) == "true"
    fake.add(reply_of(recording, random.Random(recording["id"])))
    raw = client.audio.transcriptions.with_raw_response.create(
        file=(recording_file["filename"], io.BytesIO(said), "audio/wav"), stream=stream, **fields
    )
    if not stream:
        told = recording["response"]["body"]
        shown = json.loads(raw.http_response.content)
        assert {**shown, "usage": {name: shown["usage"][name] for name in told["usage"]}} == told
        assert faults("CreateTranscriptionResponseJson", shown) == []
        assert_charged(gateway.row_of(raw), told["usage"]["seconds"] * 100_000)
    else:
        heard = [one.model_dump(mode="json", exclude_unset=True) for one in raw.parse()]
        told = [json.loads(line[6:]) for line in body_of(recording).decode().splitlines() if line.startswith("data: {")]
        usage = told[-1]["usage"]
        assert heard[:-1] == told[:-1]
        assert {**heard[-1], "usage": {name: heard[-1]["usage"][name] for name in usage}} == told[-1]
        assert heard[-1]["usage"]["cost"] > 0
        for one in heard:
            assert faults("CreateTranscriptionResponseStreamEvent", one) == []
        tokens = usage["input_token_details"]
        fee = tokens["text_tokens"] * 2_500 + tokens["audio_tokens"] * 6_000 + usage["output_tokens"] * 10_000
        assert_charged(gateway.row_of(raw), fee)
    request = fake.received[-1]
    form = multipart.parse(request.header("content-type") or "", request.body)
    assert bytes(form.pop("file").data) == said
    assert form == fields | ({"stream": "true"} if stream else {})


@pytest.mark.parametrize("file", select("moderations"))
def test_recorded_moderations_reach_the_sdk_and_are_free(
    running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI, file: str
) -> None:
    gateway, fake = running
    recording = recorded(file)
    told = recording["response"]["body"]
    fake.add(json_reply(told))
    raw = client.moderations.with_raw_response.create(
        model="omni-moderation-latest", input=recording["request"]["body"]["input"]
    )
    shown = json.loads(raw.http_response.content)
    assert shown.pop("usage")["cost"] == 0
    assert shown == told
    assert raw.parse().results[0].flagged == told["results"][0]["flagged"]
    assert_charged(gateway.row_of(raw), 0)


@pytest.mark.parametrize("file", select("rerank"))
def test_recorded_rerank_is_asked_and_answered_as_it_was(
    running: tuple[RunningGateway, FakeUpstream], file: str
) -> None:
    gateway, fake = running
    recording = recorded(file)
    sent, told = recording["request"]["body"], recording["response"]["body"]
    fake.add(json_reply(told))
    answer = gateway.call("POST", "/v1/rerank", {"model": "gte-rerank-v2", **sent["input"]})
    assert answer.status == 200, answer.body
    shown = answer.json()
    assert shown["results"] == told["output"]["results"]
    assert (shown["id"], shown["usage"]["total_tokens"]) == (told["request_id"], told["usage"]["total_tokens"])
    assert fake.received[-1].path == recording["request"]["path"]
    assert fake.received[-1].json() == sent | {"model": "gte-rerank-v2"}
    assert_charged(gateway.row_of(answer), ceil(told["usage"]["total_tokens"] * 114.613))


def test_a_recorded_error_of_rerank_is_a_model_that_is_gone(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    recording = recorded("dashscope/error-plain-400-rerank-ca9477.json")
    fake.add(json_reply(recording["response"]["body"], recording["response"]["status"]))
    answer = gateway.call("POST", "/v1/rerank", {"model": "gte-rerank-v2", **recording["request"]["body"]["input"]})
    assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert gateway.row_of(answer)["charged"] == 0
    gateway.forget_faults()
