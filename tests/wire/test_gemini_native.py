"""Google's own replies and streams on their way to Google's own clients: the same bytes, with what they cost."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.upstream import gemini_error, gemini_reply, gemini_stream
from tests.wire.cuts import assert_cuts_do_not_show, read
from tokenhub.call import Call, Capability
from tokenhub.usage import Usage
from tokenhub.wire.faults import FaultKind, UpstreamFault
from tokenhub.wire.gemini import native as gemini_native
from tokenhub.wire.gemini import signatures as gemini_signatures
from tokenhub.wire.gemini.native import GeminiRelay
from tokenhub.wire.gemini.stream import GeminiReader

SAMPLES = sorted((Path(__file__).parents[1] / "samples" / "gemini").glob("*.sse"))
CALL = Call(Capability.CHAT, "asked", stream=True)
COST = {"cost": 0.5, "is_byok": False, "cost_details": {"total": "0.5"}}
COUNTED = {"promptTokenCount": 1, "totalTokenCount": 1}


def relay() -> GeminiRelay:
    return GeminiRelay(CALL)


def lf(stream: bytes) -> bytes:
    return stream.replace(b"\r\n", b"\n")


# Requests ----------------------------------------------------------------------------------------


def test_a_body_passes_with_fields_nobody_knows_and_without_the_gateways() -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": "x", "futureMember": [1]}]}],
        "futureField": {"a": None},
        "generationConfig": {"futureKnob": 1, "maxOutputTokens": 9},
        "provider": {"only": ["google"]},
        "models": ["x"],
        "session_id": "s",
        "model": "models/other",
    }
    sent = gemini_native.request(body, None)
    assert sent == {name: body[name] for name in ("contents", "futureField", "generationConfig")}
    assert sent["contents"] is body["contents"]
    lowered = gemini_native.request(body, 5)
    assert lowered["generationConfig"] == {"futureKnob": 1, "maxOutputTokens": 5}
    assert gemini_native.request({"contents": []}, 5)["generationConfig"] == {"maxOutputTokens": 5}


def test_signatures_that_google_did_not_make_are_not_sent_to_it() -> None:
    packed = gemini_signatures.packed({"thinking_blocks": [{"type": "thinking"}]})
    parts = [
        {"functionCall": {"name": "f"}, "thoughtSignature": packed},
        {"text": "x", "thoughtSignature": packed},
        {"functionCall": {"name": "g"}, "thoughtSignature": "Z29vZ2xl"},
    ]
    (content,) = gemini_native.request({"contents": [{"role": "model", "parts": parts}]}, None)["contents"]
    assert content["parts"] == [
        {"functionCall": {"name": "f"}, "thoughtSignature": gemini_signatures.NO_SIGNATURE},
        {"text": "x"},
        parts[2],
    ]
    assert parts[0]["thoughtSignature"] == packed, "the client's body is not changed: another upstream may need it"


# Replies -----------------------------------------------------------------------------------------


def test_a_reply_is_read_for_its_facts_and_kept_as_it_is() -> None:
    call = {"functionCall": {"name": "now"}, "thoughtSignature": "c2ln"}
    raw = {**gemini_reply(parts=[call, {"text": "Hi"}]), "futureMember": {"x": 1}}
    told = gemini_native.reply(raw, CALL)
    assert told.body is raw
    assert (told.usage, told.finish_reason, told.native_finish_reason) == (
        Usage(input=8, output=4),
        "tool_calls",
        "STOP",
    )
    assert told.has_content
    assert told.binds
    assert not gemini_native.reply(gemini_reply("Hi"), CALL).binds


def test_an_error_inside_a_200_is_a_fault() -> None:
    with pytest.raises(UpstreamFault) as fault:
        gemini_native.reply(gemini_error(503, "UNAVAILABLE", "overloaded"), CALL)
    assert fault.value.failure.kind is FaultKind.OVERLOAD


def test_embeddings_one_and_many() -> None:
    one = {"embedding": {"values": [1.0]}, "usageMetadata": {"promptTokenCount": 3}}
    told = gemini_native.embeddings(one, Call(Capability.EMBEDDINGS, "m", messages=1))
    assert (told.body, told.usage, told.has_content) == (one, Usage(input=3), True)
    many = {"embeddings": [{"values": [1.0]}, {"values": [2.0]}]}
    assert gemini_native.embeddings(many, Call(Capability.EMBEDDINGS, "m", messages=2)).usage is None
    with pytest.raises(UpstreamFault):
        gemini_native.embeddings(many, Call(Capability.EMBEDDINGS, "m", messages=3))


# Streams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_passes_byte_for_byte_and_its_facts_are_the_readers(sample: Path) -> None:
    stream = sample.read_bytes()
    flowing, ending, facts = read(relay(), [stream])
    expected = read(GeminiReader(CALL), [stream])[2]
    assert facts == {**expected, "shown_id": expected["upstream_id"]}
    if facts["complete"]:
        assert flowing + ending == lf(stream).rstrip(b"\n") + b"\n\n"
    else:
        assert ending == b""
        assert lf(stream).startswith(flowing)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_where_the_network_cut_a_stream_never_shows(sample: Path) -> None:
    assert_cuts_do_not_show(relay, sample.read_bytes(), 200)


def test_the_last_event_waits_for_the_charge() -> None:
    frames = gemini_stream(["a", "b", "c"])
    reader = relay()
    assert reader.feed(b"".join(frames[:-1])) == lf(b"".join(frames[:-1]))
    assert reader.feed(frames[-1]) == b""
    assert not reader.facts.complete
    reader.close()
    assert reader.facts.complete
    assert reader.ending() == lf(frames[-1])


def test_an_end_that_was_none_is_given_when_more_comes() -> None:
    """Some models say STOP on every event (notes of the recordings)."""
    event = [json.dumps(gemini_reply(text)).encode() for text in ("a", "b")]
    first, second = (b"data: %b\n\n" % one for one in event)
    reader = relay()
    assert reader.feed(first) == b""
    assert reader.feed(second) == first
    reader.close()
    assert reader.ending() == second


def test_what_comes_after_the_finish_reason_waits_for_the_charge_too() -> None:
    first, finish, *_ = (b"data: %b\n\n" % json.dumps(gemini_reply(text)).encode() for text in ("a", "b"))
    bare = {"candidates": [{"content": {"role": "model", "parts": [{"text": "c"}]}}]}
    more = b"data: %b\n\n" % json.dumps(bare).encode()
    reader = relay()
    assert reader.feed(first + finish) == first
    assert reader.feed(more) == finish
    reader.close()
    assert (reader.facts.complete, reader.ending()) == (True, more)


def test_only_the_event_with_the_usage_is_written_again() -> None:
    usage = {"promptTokenCount": 5, "totalTokenCount": 9, "serviceTier": "standard", "futureCount": 3}
    text = b'data: {"candidates" : [ {"finishReason":"STOP"} ]}\n\n'
    counted = b"data: " + json.dumps({"usageMetadata": usage, "x": 1}).encode() + b"\n\n"
    made = gemini_native.with_usage(text + counted, COUNTED, COST, estimated=False)
    assert made.startswith(text)
    assert json.loads(made[len(text) + 6 :]) == {"usageMetadata": usage | COST, "x": 1}
    guessed = gemini_native.with_usage(text + counted, COUNTED, COST, estimated=True)
    assert json.loads(guessed[len(text) + 6 :])["usageMetadata"] == COUNTED | COST
    bare = gemini_native.with_usage(text, COUNTED, COST, estimated=True)
    assert json.loads(bare[6:])["usageMetadata"] == COUNTED | COST


def test_a_whole_reply_in_place_of_a_stream_becomes_events() -> None:
    whole = [gemini_reply("a"), gemini_reply("b")]
    for stream in (json.dumps(whole, indent=1).encode(), json.dumps(whole[0]).encode()):
        flowing, ending, facts = read(relay(), [stream])
        assert facts["complete"]
        events = [json.loads(one[6:]) for one in (flowing + ending).split(b"\n\n") if one]
        assert events == (whole if stream.startswith(b"[") else whole[:1])


def test_a_stream_that_is_cut_or_fails_shows_no_end() -> None:
    frames = gemini_stream(["a", "b"])
    reader = relay()
    assert reader.feed(frames[0]) != b""
    reader.close()
    assert reader.facts.failure is not None
    assert reader.ending() == b""
    failing = relay()
    error = json.dumps(gemini_error(503, "UNAVAILABLE", "overloaded"), indent=2).encode()
    flowing = failing.feed(frames[0] + error)
    failing.close()
    assert flowing == lf(frames[0])
    assert failing.facts.failure is not None
    assert failing.facts.failure.kind is FaultKind.OVERLOAD
    assert failing.feed(frames[1]) == b""


def test_a_frame_above_the_cap_is_a_failure() -> None:
    reader = GeminiRelay(CALL, 1000)
    assert reader.feed(b"data: " + b"x" * 2000) == b""
    assert reader.facts.failure is not None
    assert reader.facts.failure.code == "frame_too_large"


# Recordings --------------------------------------------------------------------------------------

WIRE = Path(__file__).parents[2] / "../shared/wire"


def recorded(*, stream: bool) -> list[str]:
    if not (WIRE / "index.json").exists():
        return []
    index: list[dict[str, Any]] = json.loads((WIRE / "index.json").read_text())["exchanges"]
    return [
        one["file"]
        for one in index
        if (one["provider"], one["kind"], one["stream"]) == ("google", "generateContent", stream)
    ]


@pytest.mark.skipif(not WIRE.is_dir(), reason="the recordings (../shared/wire) are not here")
@pytest.mark.parametrize("file", recorded(stream=True))
def test_a_recorded_stream_passes_byte_for_byte(file: str) -> None:
    response = json.loads((WIRE / file).read_text())["response"]
    stream = (response.get("body_text") or json.dumps(response.get("body"))).encode()
    flowing, ending, facts = read(relay(), [stream])
    if not facts["complete"]:
        assert lf(stream).startswith(flowing)
        return
    given = flowing + ending
    if stream.lstrip().startswith((b"[", b"{")):
        events = json.loads(stream)
        assert [json.loads(one[6:]) for one in given.split(b"\n\n") if one] == (
            events if isinstance(events, list) else [events]
        )
        return
    assert given == re.sub(rb"\n{3,}", b"\n\n", lf(stream)).rstrip(b"\n") + b"\n\n"
    assert_cuts_do_not_show(relay, stream, 60)
