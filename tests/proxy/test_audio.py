"""Speech, transcriptions and translations over real sockets: what goes out, what comes back, and what it costs."""

import base64
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fakes import sound
from tests.fakes.raw_client import RawClient, post
from tests.fakes.upstream import Cut, FakeUpstream, Pause, Reply, head, json_reply, openai_error, sse, sse_reply
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub.wire import multipart

SOUND = bytes(range(256)) * 64
TEXT = "Hello there."
TOKENS = {
    "type": "tokens",
    "input_tokens": 37,
    "input_token_details": {"text_tokens": 2, "audio_tokens": 35},
    "output_tokens": 12,
    "total_tokens": 49,
}
TTS_NANO = 12 * 15_000 * 103 // 100
"""12 characters at 15 USD a million, 3 % on top."""
MINI_TTS_NANO = (14 * 600 + 101 * 12_000) * 103 // 100
WHISPER_NANO = 4 * 100_000 * 103 // 100
TRANSCRIBE_NANO = (2 * 2_500 + 35 * 6_000 + 12 * 10_000) * 103 // 100


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, FakeUpstream]]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("audio")))
    with FakeUpstream([]) as fake:
        gateway.add_credential("openai", fake.url)
        yield gateway, fake
        gateway.stop()


def audio_reply(*steps: Any, media_type: str = "audio/mpeg") -> Reply:
    made = sse_reply(steps)
    return [head(200, {"Content-Type": media_type, "Transfer-Encoding": "chunked"}), *made[1:]]


def delta(piece: bytes) -> bytes:
    return sse({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})


def spoken(*, usage: bool = True) -> list[bytes]:
    counted = {"usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}} if usage else {}
    return [delta(SOUND[:9_000]), delta(SOUND[9_000:]), sse({"type": "speech.audio.done", **counted})]


def speak(gateway: RunningGateway, model: str, **fields: Any) -> Answer:
    return gateway.call("POST", "/v1/audio/speech", {"model": model, "input": TEXT, "voice": "alloy", **fields})


def transcribe(gateway: RunningGateway, file: bytes | None, path: str = "transcriptions", **fields: Any) -> Answer:
    body, content_type = sound.form(fields, file)
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": content_type}
    return gateway.call("POST", f"/v1/audio/{path}", body, headers)


def test_a_boundary_as_openais_sdk_writes_it_into_a_form_is_kept(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    before = len(fake.received)
    recording = ("a.wav", sound.wav(3.2))
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        for limits, status in (
            ({"ignore": ["openai"]}, 403),
            ({"only": ["groq"]}, 403),
            ({"data_collection": "deny", "only": ["openai@eu"]}, 403),
            ({"max_price": {"prompt": 0.01}}, 403),
            ({"ignores": ["openai"]}, 400),
        ):
            with pytest.raises(openai.APIStatusError) as refused:
                client.audio.transcriptions.create(
                    model="gpt-4o-mini-transcribe", file=recording, extra_body={"provider": limits}
                )
            assert refused.value.status_code == status, limits
        assert len(fake.received) == before
        fake.add(json_reply({"text": TEXT, "usage": TOKENS}))
        made = client.audio.transcriptions.create(
            model="gpt-4o-mini-transcribe",
            file=recording,
            extra_body={"provider": {"ignore": ["groq"], "allow_fallbacks": False}, "session_id": "s"},
        )
    assert made.text == TEXT
    assert not {name for name in form_of(fake) if name.startswith(("provider", "session_id"))}


@pytest.mark.parametrize("name", ["url", "file_url", "file_id"])
def test_a_recording_that_lies_elsewhere_is_refused(running: tuple[RunningGateway, FakeUpstream], name: str) -> None:
    gateway, fake = running
    before = len(fake.received)
    answer = transcribe(gateway, sound.wav(3.2), model="whisper-1", **{name: "https://example.com/long.mp3"})
    assert (answer.status, answer.json()["error"]["param"]) == (400, name)
    assert len(fake.received) == before


def form_of(fake: FakeUpstream) -> dict[str, Any]:
    request = fake.received[-1]
    return multipart.parse(request.header("content-type") or "", request.body)


# --- speech


def test_sound_passes_byte_for_byte_and_is_billed_by_the_character(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(audio_reply(SOUND[:5_000], Pause(0.02), SOUND[5_000:]))
    answer = speak(gateway, "tts-1", response_format="mp3", speed=1.5)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, SOUND, "audio/mpeg")
    assert before - gateway.balance() == TTS_NANO
    sent = fake.received[-1]
    assert sent.path == "/v1/audio/speech"
    assert sent.json() == {"model": "tts-1", "input": TEXT, "voice": "alloy", "response_format": "mp3", "speed": 1.5}
    row = gateway.row_of(answer)
    assert (row["end"], row["charged"], row["estimated"], row["capability"]) == ("settled", TTS_NANO, 0, "speech")
    assert json.loads(row["units"]) == [{"kind": "character", "count": 12}]
    assert row["held"] >= row["charged"]


def test_a_model_sold_by_tokens_is_asked_for_events_and_its_sound_given_as_bytes(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(sse_reply(spoken()))
    answer = speak(gateway, "gpt-4o-mini-tts", instructions="slowly", response_format="wav")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, SOUND, "audio/wav")
    assert fake.received[-1].json()["stream_format"] == "sse"
    assert before - gateway.balance() == MINI_TTS_NANO
    row = gateway.row_of(answer)
    assert (row["output_tokens"], row["estimated"]) == (101, 0)
    assert row["held"] >= row["charged"]


def events_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame[6:]) for frame in body.split(b"\n\n") if frame.startswith(b"data: {")]


@pytest.mark.parametrize(("model", "nano"), [("gpt-4o-mini-tts", MINI_TTS_NANO), ("tts-1", TTS_NANO)])
def test_events_end_with_what_the_sound_cost(
    running: tuple[RunningGateway, FakeUpstream], model: str, nano: int
) -> None:
    gateway, fake = running
    fake.add(sse_reply(spoken()) if model != "tts-1" else audio_reply(SOUND[:9_000], Pause(0.02), SOUND[9_000:]))
    answer = speak(gateway, model, stream_format="sse")
    assert answer.headers["content-type"].startswith("text/event-stream")
    *deltas, done = events_of(answer.body)
    assert b"".join(base64.b64decode(one["audio"]) for one in deltas) == SOUND
    assert done["type"] == "speech.audio.done"
    assert done["usage"]["cost"] == nano / 10**9
    if model != "tts-1":
        assert answer.body.startswith(spoken()[0]), "frames pass as they came"
        assert done["usage"]["output_tokens"] == 101


@pytest.mark.parametrize("ending", [Cut(), b"z\r\n"])
def test_t75_sound_that_breaks_off_is_broken_off_and_free(
    running: tuple[RunningGateway, FakeUpstream], ending: Any
) -> None:
    gateway, fake = running
    before = gateway.balance()
    made = [head(200, {"Content-Type": "audio/mpeg", "Transfer-Encoding": "chunked"})]
    made += [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (SOUND, SOUND)]
    fake.add([made[0], made[1], Pause(0.05), made[2], Pause(0.05), ending])
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    body = json.dumps({"model": "tts-1", "input": TEXT, "voice": "alloy"})
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/audio/speech", body, headers)
    reply = connection.getresponse()
    assert reply.status == 200
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        reply.read()
    connection.close()
    gateway.settled()
    row = gateway.rows("SELECT * FROM requests ORDER BY started_at DESC, id DESC")[0]
    assert (row["end"], row["charged"], row["status"]) == ("released", 0, 502)
    assert gateway.balance() == before


def test_t75_sound_that_breaks_off_is_no_whole_sound_where_its_end_is_the_connections(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    """A client of HTTP/1.0, such as nginx by default, takes all that comes before an orderly end for the whole."""
    gateway, fake = running
    fake.add(audio_reply(SOUND, Pause(0.05), SOUND, Pause(0.05), Cut()))
    body = {"model": "tts-1", "input": TEXT, "voice": "alloy"}
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, body, path="/v1/audio/speech", version="HTTP/1.0"))
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        with pytest.raises(ConnectionResetError):
            b"".join(iter(lambda: client.socket.recv(1 << 16), b""))
    gateway.settled()


def test_t75_events_that_break_off_end_with_an_error_event(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(sse_reply([*spoken()[:2], Pause(0.05), Cut()]))
    answer = speak(gateway, "gpt-4o-mini-tts", stream_format="sse")
    *_, last = events_of(answer.body)
    assert (last["type"], last["error"]["type"]) == ("error", "upstream_error")
    assert last["error"]["request_id"] == answer.headers["x-request-id"]
    assert gateway.row_of(answer)["charged"] == 0
    assert gateway.balance() == before


@pytest.mark.parametrize(
    "reply",
    [
        json_reply({"error": {"message": "busy", "code": "server_error", "type": "server_error"}}),
        audio_reply(b"<!doctype html><p>Bad gateway"),
        json_reply(openai_error("no", code="server_error"), 500),
    ],
)
def test_t74_what_is_no_sound_fails_before_anything_is_shown(
    running: tuple[RunningGateway, FakeUpstream], reply: Reply
) -> None:
    gateway, fake = running
    gateway.forget_faults()
    before = gateway.balance()
    fake.add(reply)
    answer = speak(gateway, "tts-1")
    assert answer.status == 502
    assert answer.json()["error"]["type"] == "upstream_error"
    assert gateway.row_of(answer)["end"] == "released"
    assert gateway.balance() == before
    gateway.forget_faults()


def test_an_empty_reply_is_free(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(audio_reply())
    answer = speak(gateway, "tts-1")
    assert (answer.status, answer.body) == (200, b"")
    assert gateway.row_of(answer)["end"] == "released"
    assert gateway.balance() == before


def test_missing_usage_of_sound_is_estimated_and_marked(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    fake.add(sse_reply(spoken(usage=False)))
    answer = speak(gateway, "gpt-4o-mini-tts")
    assert answer.body == SOUND
    row = gateway.row_of(answer)
    assert row["estimated"] == 1
    assert 0 < row["charged"] < row["held"]


def test_too_little_credit_for_the_longest_it_can_sound_is_refused(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    asked = len(fake.received)
    answer = speak(gateway, "tts-1-hd", input="x" * 100_000)
    assert answer.status != 402
    limited = gateway.add_key(spend_limit_nano=1_000_000)
    answer = gateway.call(
        "POST",
        "/v1/audio/speech",
        {"model": "tts-1-hd", "input": "x" * 100_000, "voice": "alloy"},
        {"Authorization": f"Bearer {limited}"},
    )
    assert answer.status == 402
    # 100 000 characters at 30 USD a million, 3 % on top, and what rounding may add
    assert answer.json()["error"]["metadata"]["required"] == "3.090000003"
    assert len(fake.received) == asked + 1
    gateway.forget_faults()


# --- transcriptions


def test_a_recording_goes_up_as_it_came_and_is_billed_by_the_second(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    before = gateway.balance()
    file = sound.wav(3.5)
    fake.add(json_reply({"text": "Hello.", "usage": {"type": "duration", "seconds": 4}}))
    answer = transcribe(gateway, file, model="whisper-1", language="en", timestamp_granularities=["word", "segment"])
    assert answer.status == 200, answer.body
    assert before - gateway.balance() == WHISPER_NANO
    body = answer.json()
    assert body["text"] == "Hello."
    assert (body["usage"]["type"], body["usage"]["seconds"], body["usage"]["cost"]) == ("duration", 4, 0.000412)
    assert answer.headers["x-tokenhub-cost"] == "0.000412"
    sent = form_of(fake)
    assert fake.received[-1].path == "/v1/audio/transcriptions"
    assert (sent["model"], sent["language"], sent["timestamp_granularities"]) == (
        "whisper-1",
        "en",
        ["word", "segment"],
    )
    assert (bytes(sent["file"].data), sent["file"].filename) == (file, "said.wav")
    row = gateway.row_of(answer)
    assert json.loads(row["units"]) == [{"kind": "second", "count": 4}]
    assert row["held"] >= row["charged"]


def test_a_model_sold_by_tokens_is_billed_by_what_it_counted(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(json_reply({"text": "Hello.", "usage": TOKENS}))
    answer = transcribe(gateway, sound.wav(3.5), model="gpt-4o-transcribe", include=["logprobs"])
    usage = answer.json()["usage"]
    assert {name: usage[name] for name in TOKENS} == TOKENS
    assert usage["cost_details"]["total"] == "0.00034505"
    assert before - gateway.balance() == TRANSCRIBE_NANO
    row = gateway.row_of(answer)
    assert row["held"] >= row["charged"]


@pytest.mark.parametrize("wanted", ["text", "srt", "vtt"])
def test_text_forms_pass_as_text_and_are_billed_by_the_recordings_own_length(
    running: tuple[RunningGateway, FakeUpstream], wanted: str
) -> None:
    gateway, fake = running
    before = gateway.balance()
    text = b"WEBVTT\n\n00:00.000 --> 00:03.300\nHello.\n"
    fake.add([head(200, {"Content-Type": "text/plain", "Content-Length": str(len(text))}) + text])
    answer = transcribe(gateway, sound.wav(3.5), model="whisper-1", response_format=wanted)
    assert (answer.body, answer.headers["content-type"]) == (text, "text/plain; charset=utf-8")
    assert before - gateway.balance() == WHISPER_NANO
    assert gateway.row_of(answer)["estimated"] == 0


@pytest.mark.parametrize("wanted", ["json", "text"])
@pytest.mark.parametrize("model", ["gpt-4o-transcribe", "whisper-1"])
def test_a_stream_ends_with_what_it_cost(running: tuple[RunningGateway, FakeUpstream], model: str, wanted: str) -> None:
    """The events of a text are those of JSON, so that is asked for: whisper-1, which knows no streams, would answer with text."""
    gateway, fake = running
    before = gateway.balance()
    frames = [sse({"type": "transcript.text.delta", "delta": piece}) for piece in ("Hel", "lo.")]
    done = {"type": "transcript.text.done", "text": "Hello.", "usage": TOKENS}
    whole = json_reply({"text": "Hello.", "usage": {"type": "duration", "seconds": 4}})
    fake.add(whole if model == "whisper-1" else sse_reply([*frames, sse(done), sse("[DONE]")]))
    answer = transcribe(gateway, sound.wav(3.5), model=model, response_format=wanted, stream="true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body.endswith(b"data: [DONE]\n\n")
    *pieces, last = events_of(answer.body)
    assert [piece["delta"] for piece in pieces] == ([] if model == "whisper-1" else ["Hel", "lo."])
    assert (last["type"], last["text"]) == ("transcript.text.done", "Hello.")
    nano = WHISPER_NANO if model == "whisper-1" else TRANSCRIBE_NANO
    assert last["usage"]["cost"] == nano / 10**9
    assert before - gateway.balance() == nano
    assert gateway.row_of(answer)["estimated"] == 0
    sent = form_of(fake)
    assert (sent["stream"], sent["response_format"]) == ("true", "json")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("srt", "1\n00:00:00,000 --> 00:00:01,000\nOne two.\n\n"),
        ("vtt", "WEBVTT\n\nOne two.\n"),
    ],
)
def test_subtitles_are_one_event_of_a_stream(
    running: tuple[RunningGateway, FakeUpstream], wanted: str, said: str
) -> None:
    """No failure of their provider's, which would keep everybody from it: whisper-1 knows no streams, and subtitles have no events."""
    gateway, fake = running
    body = said.encode()
    fake.add([head(200, {"Content-Type": "text/plain", "Content-Length": str(len(body))}) + body])
    answer = transcribe(gateway, sound.wav(3.2), model="whisper-1", response_format=wanted, stream="true")
    (done,) = events_of(answer.body)
    assert (done["type"], done["text"]) == ("transcript.text.done", said)
    assert done["usage"]["cost"] == WHISPER_NANO / 10**9 == gateway.row_of(answer)["charged"] / 10**9
    assert b'name="stream"' not in fake.received[-1].body


def test_t73_subtitles_that_are_asked_for_as_a_stream_have_the_time_of_a_whole_reply(tmp_path: Path) -> None:
    """Nothing comes until all of them are made: no failure of their provider's, and no second recording to pay for."""
    gateway = start_gateway(temporary_home(tmp_path), {"upstream.first_byte_s": 0.1})
    with FakeUpstream([]) as fake:
        gateway.add_credential("openai", fake.url)
        body = b"WEBVTT\n\nOne two.\n"
        fake.add([Pause(0.4), head(200, {"Content-Type": "text/vtt", "Content-Length": str(len(body))}) + body])
        answer = transcribe(gateway, sound.wav(3.2), model="whisper-1", response_format="vtt", stream="true")
        assert [one["text"] for one in events_of(answer.body)] == [body.decode()]
        gateway.stop()


def test_t73_a_model_that_knows_no_streams_has_the_time_of_a_whole_reply(tmp_path: Path) -> None:
    gateway = start_gateway(temporary_home(tmp_path), {"upstream.first_byte_s": 0.1})
    with FakeUpstream([]) as fake:
        gateway.add_credential("openai", fake.url)
        fake.add([Pause(0.4), *json_reply({"text": "One two."})])
        answer = transcribe(gateway, sound.wav(3.2), model="whisper-1", response_format="json", stream="true")
        assert [one["text"] for one in events_of(answer.body)] == ["One two."]
        fake.add([Pause(2), *json_reply({"text": "One two."})])
        assert transcribe(gateway, sound.wav(3.2), model="gpt-4o-transcribe", stream="true").status == 504
        gateway.stop()


def test_translations_have_a_path_and_a_model_of_their_own(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    fake.add(json_reply({"text": "Hello."}))
    answer = transcribe(gateway, sound.wav(3.5), "translations", model="whisper-1", prompt="in English")
    assert (answer.status, answer.json()["text"]) == (200, "Hello.")
    assert fake.received[-1].path == "/v1/audio/translations"
    row = gateway.row_of(answer)
    assert (row["charged"], row["estimated"]) == (WHISPER_NANO, 0)
    refused = transcribe(gateway, sound.wav(1), "translations", model="gpt-4o-transcribe")
    assert (refused.status, refused.json()["error"]["param"]) == (400, "model")
    assert gateway.row_of(refused)["charged"] == 0


def test_a_broken_stream_and_a_failed_reply_are_free(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(sse_reply([sse({"type": "transcript.text.delta", "delta": "Hel"}), Pause(0.05), Cut()]))
    answer = transcribe(gateway, sound.wav(3.5), model="gpt-4o-transcribe", stream="true")
    assert events_of(answer.body)[-1]["type"] == "error"
    assert b"[DONE]" not in answer.body
    fake.add(json_reply(openai_error("busy", code="server_error"), 500))
    assert transcribe(gateway, sound.wav(3.5), model="whisper-1").status == 502
    gateway.settled()
    assert gateway.balance() == before
    gateway.forget_faults()


@pytest.mark.parametrize(
    ("fields", "file", "param"),
    [
        ({"model": "whisper-1"}, None, "file"),
        ({"model": "whisper-1"}, b"", "file"),
        ({"model": "whisper-1", "stream": "maybe"}, b"x", "stream"),
        ({"model": "gpt-4o-mini"}, b"x", "model"),
    ],
)
def test_what_is_no_transcription_is_refused_by_name(
    running: tuple[RunningGateway, FakeUpstream], fields: dict[str, Any], file: bytes | None, param: str
) -> None:
    gateway, fake = running
    asked = len(fake.received)
    answer = transcribe(gateway, file, **fields)
    assert answer.status in (400, 404), answer.body
    assert answer.json()["error"]["param"] == param
    assert len(fake.received) == asked


def test_a_form_must_be_a_form(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, _ = running
    answer = gateway.call("POST", "/v1/audio/transcriptions", {"model": "whisper-1"})
    assert answer.status == 415
    broken = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "multipart/form-data; boundary=edge"}
    answer = gateway.call("POST", "/v1/audio/transcriptions", b"--edge\r\ncut", broken)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_multipart")


def test_the_receipt_tells_what_kind_of_request_it_was(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    fake.add(json_reply({"text": "Hello.", "usage": {"type": "duration", "seconds": 4}}))
    answer = transcribe(gateway, sound.wav(3.5), model="whisper-1")
    gateway.row_of(answer)
    receipt = gateway.call("GET", f"/v1/generation?id={answer.headers['x-request-id']}").json()["data"]
    assert (receipt["api_type"], receipt["units"]) == ("stt", [{"kind": "second", "count": 4}])
    assert receipt["cost_details"]["total"] == "0.000412"


# --- those who leave, and who lie


def test_who_leaves_halfway_is_charged_what_was_made(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before = gateway.balance()
    frames = [delta(SOUND) for _ in range(8)]
    done = sse({"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}})
    fake.add(sse_reply([*frames[:4], Pause(0.4), *frames[4:], done]))
    ended = len(gateway.rows("SELECT id FROM requests"))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    body = json.dumps({"model": "gpt-4o-mini-tts", "input": TEXT, "voice": "alloy"})
    connection.request(
        "POST",
        "/v1/audio/speech",
        body,
        {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"},
    )
    reply = connection.getresponse()
    assert reply.read(1_000) == SOUND[:1_000]
    connection.close()
    reply.close()
    gateway.settled(ended + 1)
    assert before - gateway.balance() == MINI_TTS_NANO
    row = gateway.rows("SELECT * FROM requests ORDER BY started_at DESC, id DESC")[0]
    assert (row["end"], row["cancelled"], row["estimated"]) == ("settled", 1, 0)


def test_a_header_that_lies_costs_the_operator_and_is_counted(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    fake.add(json_reply({"text": "Hello.", "usage": {"type": "duration", "seconds": 3_000}}))
    answer = transcribe(gateway, sound.mp4(1, body=600_000), model="whisper-1")
    assert answer.status == 200
    row = gateway.row_of(answer)
    assert row["charged"] == row["held"]
    assert row["charged"] + row["shortfall"] >= 3_000 * 100_000


def test_a_recording_of_unknown_length_is_held_by_its_size_and_billed_by_what_is_told(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    fake.add(json_reply({"text": "Hello.", "usage": {"type": "duration", "seconds": 4}}))
    answer = transcribe(gateway, b"#!AMR\n" + b"\x04" * 60_000, model="whisper-1")
    row = gateway.row_of(answer)
    assert row["charged"] == WHISPER_NANO
    assert row["held"] >= 60_000 * 8 // 6_000 * 100_000
    fake.add(json_reply({"text": "Hello."}))
    row = gateway.row_of(transcribe(gateway, b"#!AMR\n" + b"\x04" * 60_000, model="whisper-1"))
    assert (row["estimated"], json.loads(row["units"])) == (1, [{"kind": "second", "count": 8}])


@pytest.mark.parametrize("as_events", [True, False])
@pytest.mark.parametrize("replies", ["nothing but the end", "words for sound"])
def test_speech_without_sound_is_free(
    running: tuple[RunningGateway, FakeUpstream], replies: str, as_events: bool
) -> None:
    gateway, fake = running
    before = gateway.balance()
    frames = (
        spoken()[-1:]
        if replies == "nothing but the end"
        else [sse({"type": "speech.audio.delta", "audio": "!!!"}), spoken()[-1]]
    )
    fake.add(sse_reply(frames))
    answer = speak(gateway, "gpt-4o-mini-tts", **({"stream_format": "sse"} if as_events else {}))
    assert answer.status == (200 if replies == "nothing but the end" else 502)
    assert gateway.row_of(answer)["charged"] == 0
    assert gateway.balance() == before
