"""Recorded Gemini exchanges, where they are at hand: what a client hears equals what was recorded."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.openai_reader import Heard, hear, signature_of
from tokenhub.call import Call, Capability
from tokenhub.wire.chat import over_gemini as chat_over_gemini
from tokenhub.wire.embeddings import over_gemini as embeddings_over_gemini
from tokenhub.wire.embeddings import request as embeddings
from tokenhub.wire.faults import FaultKind, UpstreamFault
from tokenhub.wire.gemini import reply as gemini_reply
from tokenhub.wire.gemini.errors import classify, parse_error
from tokenhub.wire.gemini.stream import GeminiReader

WIRE = Path(__file__).parents[2] / "../shared/wire"
CUTS = None if os.environ.get("TOKENHUB_SOAK") == "1" else 250
CALL = Call(Capability.CHAT, "asked", stream=True)

pytestmark = pytest.mark.skipif(not (WIRE / "index.json").exists(), reason="../shared/wire is not there")


def recordings(provider: str, kind: str, *, stream: bool | None = None, endpoint: str | None = None) -> list[str]:
    if not (WIRE / "index.json").exists():
        return []
    return [
        entry["file"]
        for entry in json.loads((WIRE / "index.json").read_text())["exchanges"]
        if (entry["provider"], entry["kind"]) == (provider, kind)
        and stream in (None, entry["stream"])
        and endpoint in (None, entry["endpoint"])
    ]


def load(name: str) -> dict[str, Any]:
    return json.loads((WIRE / name).read_text())


def body_bytes(response: dict[str, Any]) -> bytes:
    text = response.get("body_text")
    return (json.dumps(response["body"]) if text is None else text).encode()


def events_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    text = body_bytes(response).decode()
    if text.startswith("["):
        return json.loads(text)
    if text.startswith("{"):
        return [json.loads(text)]
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


FINISH = {
    "STOP": "stop",
    1: "stop",
    "MAX_TOKENS": "length",
    "FAKE_NEW_FINISH_REASON": "stop",
    "UNEXPECTED_TOOL_CALL": "stop",
}
STREAMED_ARGUMENTS = {
    "parallel-tools-0db790": [("getWeather", {"location": "Boston"}), ("getWeather", {"location": "San Francisco"})],
    "parallel-tools-f8ceb2": [
        (
            "writeItems",
            {
                "operations": [
                    {"action": "add", "description": "Fresh red apple", "itemid": "apple_001", "price": 0.5},
                    {"action": "add", "description": "Ripe yellow banana", "itemid": "banana_001", "price": 0.3},
                ]
            },
        )
    ],
}


def expected(name: str, events: list[dict[str, Any]]) -> dict[int, tuple[str, str, list[Any], str | None]]:
    """Read a recording plainly: content, reasoning, calls and finish reason of each candidate."""
    told: dict[int, list[Any]] = {}
    for event in events:
        for candidate in event.get("candidates", ()):
            choice = told.setdefault(candidate.get("index", 0), ["", "", [], None])
            for part in (candidate.get("content") or {}).get("parts", ()):
                choice[1 if part.get("thought") else 0] += part.get("text", "")
                if "functionCall" in part:
                    choice[2].append((part["functionCall"].get("name"), part["functionCall"].get("args", {})))
            choice[3] = candidate.get("finishReason", choice[3])
    for mark, calls in STREAMED_ARGUMENTS.items():
        if mark in name:
            told[0][2] = calls
    return {
        index: (
            text,
            thoughts,
            calls,
            "tool_calls" if native == "STOP" and calls else FINISH.get(native, "content_filter"),
        )
        for index, (text, thoughts, calls, native) in told.items()
    }


def told_by(heard: dict[int, Heard]) -> dict[int, tuple[str, str, list[Any], str | None]]:
    return {index: (one.content, one.reasoning, one.functions, one.finish) for index, one in heard.items()}


def total_of(events: list[dict[str, Any]]) -> int | None:
    usage = events[-1].get("usageMetadata") or {}
    return usage.get("totalTokenCount")


def read(*pieces: bytes) -> tuple[GeminiReader, bytes]:
    reader = GeminiReader(CALL)
    shown = b"".join(reader.feed(piece) for piece in pieces)
    reader.close()
    return reader, shown + reader.ending()


@pytest.mark.parametrize("name", recordings("google", "generateContent", stream=True))
def test_a_recorded_stream_is_heard_as_it_was_told(name: str) -> None:
    exchange = load(name)
    data, events = body_bytes(exchange["response"]), events_of(exchange["response"])
    reader, shown = read(data)
    if "stream-plain-22c654" in name:  # the one that ends in an error printed as bare JSON
        assert reader.facts.failure is not None
        assert reader.facts.failure.code == "CANCELLED"
        assert hear(shown)[0].content == "First Second "
        return
    assert reader.facts.failure is None
    assert reader.facts.complete
    assert told_by(hear(shown)) == expected(name, events)
    assert (reader.facts.usage.total if reader.facts.usage else None) == total_of(events)
    signatures = [part["thoughtSignature"] for part in _parts(events) if "thoughtSignature" in part]
    heard = [
        one for choice in hear(shown).values() for one in (choice.signature, *(c["signature"] for c in choice.calls))
    ]
    assert sorted(signatures) == sorted(one for one in heard if one)


@pytest.mark.soak
@pytest.mark.parametrize("name", recordings("google", "generateContent", stream=True))
def test_t59_a_recorded_stream_can_be_cut_anywhere(name: str) -> None:
    data = body_bytes(load(name)["response"])
    whole, shown = read(data)
    heard = hear(shown)
    step = 1 if CUTS is None else max(1, len(data) // CUTS)
    for place in range(1, len(data), step):
        reader, again = read(data[:place], data[place:])
        assert told_by(hear(again)) == told_by(heard)
        assert (reader.facts.usage, reader.facts.failure) == (whole.facts.usage, whole.facts.failure)


@pytest.mark.parametrize("name", recordings("google", "generateContent", stream=False))
def test_a_recorded_reply_is_read_as_it_was_told(name: str) -> None:
    raw = load(name)["response"]["body"]
    if "plain-other" in name or "malformed-function-call" in name:
        with pytest.raises(UpstreamFault) as caught:
            gemini_reply.reply(raw, CALL)
        assert caught.value.failure.code == raw["candidates"][0]["finishReason"]
        return
    reply = gemini_reply.reply(raw, CALL)
    told = {}
    for choice in reply.body["choices"]:
        message = choice["message"]
        calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls", ())]
        told[choice["index"]] = (
            message["content"] or "",
            message.get("reasoning_content", ""),
            calls,
            choice["finish_reason"],
        )
    assert told == expected(name, [raw])
    assert (reply.usage.total if reply.usage else None) == (raw.get("usageMetadata") or {}).get("totalTokenCount")
    signatures = [part["thoughtSignature"] for part in _parts([raw]) if "thoughtSignature" in part]
    message = reply.body["choices"][0]["message"]
    carriers = [message, *message.get("tool_calls", ()), *message.get("images", ())]
    assert [one for one in map(signature_of, carriers) if one] == signatures


def _parts(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    candidates = [candidate for event in events for candidate in event.get("candidates", ())]
    return [part for candidate in candidates for part in (candidate.get("content") or {}).get("parts", ())]


def with_tool_turns() -> list[str]:
    def has_calls(name: str) -> bool:
        sent = load(name)["request"]["body"] or {}
        return any("functionCall" in part for turn in sent.get("contents", ()) for part in turn["parts"])

    return [name for name in recordings("google", "generateContent") if has_calls(name)]


@pytest.mark.parametrize("name", with_tool_turns())
def test_a_recorded_tool_turn_goes_back_as_it_came(name: str) -> None:
    """Rebuild a recorded history as an OpenAI client would hold it: the request built from it is the history again."""
    history = load(name)["request"]["body"]["contents"]
    messages: list[dict[str, Any]] = []
    for turn in history:
        messages += _as_openai(turn, len(messages))
    built, _ = chat_over_gemini.request({"messages": messages}, "gemini-2.5-flash")
    assert [_essence(part) for turn in built["contents"] for part in turn["parts"]] == [
        _essence(part) for turn in history for part in turn["parts"]
    ]


def _as_openai(turn: dict[str, Any], seen: int) -> list[dict[str, Any]]:
    calls, messages, texts = [], [], []
    for place, part in enumerate(turn["parts"]):
        extra = (
            {"extra_content": {"google": {"thought_signature": part["thoughtSignature"]}}}
            if "thoughtSignature" in part
            else {}
        )
        if "functionCall" in part:
            function = {
                "name": part["functionCall"]["name"],
                "arguments": json.dumps(part["functionCall"].get("args", {})),
            }
            calls.append({"id": f"c{seen}_{place}", "type": "function", "function": function, **extra})
        elif "functionResponse" in part:
            answer = part["functionResponse"]
            content = json.dumps(answer["response"])
            messages.append({"role": "tool", "tool_call_id": "", "name": answer["name"], "content": content})
        elif "text" in part:
            texts.append(
                {"role": "assistant" if turn.get("role") == "model" else "user", "content": part["text"], **extra}
            )
    if calls:
        texts.append({"role": "assistant", "content": None, "tool_calls": calls})
    return messages + texts


def _essence(part: dict[str, Any]) -> tuple[Any, ...]:
    call, answer = part.get("functionCall", {}), part.get("functionResponse", {})
    return (
        part.get("text", ""),
        call.get("name"),
        call.get("args"),
        part.get("thoughtSignature"),
        answer.get("name"),
        answer.get("response"),
    )


KINDS = {
    400: {FaultKind.BAD_REQUEST, FaultKind.AUTH, FaultKind.FILTER},
    403: {FaultKind.AUTH},
    404: {FaultKind.MODEL_GONE},
    429: {FaultKind.RATE},
}


@pytest.mark.parametrize("name", recordings("google", "error"))
def test_a_recorded_error_is_read_and_sorted(name: str) -> None:
    response = load(name)["response"]
    error = parse_error(body_bytes(response))
    assert error is not None
    assert error.code == response["status"]
    assert classify(error, response["status"]).kind in KINDS[response["status"]]
    if "retryDelay" in body_bytes(response).decode():
        assert error.retry_after_s in (48.0, 34.4)


@pytest.mark.parametrize("name", recordings("google", "embeddings"))
def test_recorded_gemini_embeddings_come_in_both_forms(name: str) -> None:
    exchange = load(name)
    raw, inputs = exchange["response"]["body"], len(exchange["request"]["body"]["requests"])
    call = Call(Capability.EMBEDDINGS, "asked", messages=inputs, encoding="float")
    reply = embeddings_over_gemini.reply(raw, call, exchange["request"]["body"]["requests"][0]["model"].split("/")[1])
    assert [entry["embedding"] for entry in reply.body["data"]] == [one["values"] for one in raw["embeddings"]]
    assert (reply.usage.total if reply.usage else None) == raw.get("usageMetadata", {}).get("promptTokenCount")


@pytest.mark.parametrize("name", [*recordings("openai", "embeddings"), *recordings("dashscope", "embeddings")])
def test_recorded_openai_embeddings_come_in_both_forms(name: str) -> None:
    exchange = load(name)
    sent, raw = exchange["request"]["body"], exchange["response"]["body"]
    call = embeddings.parse_call(sent, len(json.dumps(sent)))
    recorded = [entry["embedding"] for entry in raw["data"]]
    reply = embeddings.reply(raw, call)
    assert [entry["embedding"] for entry in reply.body["data"]] == recorded
    assert reply.usage is not None
    assert embeddings.render_usage(reply.usage) == raw["usage"]
    for vector in recorded:
        other = embeddings.encode(vector, "float" if isinstance(vector, str) else "base64")
        again = embeddings.encode(other, "base64" if isinstance(vector, str) else "float")
        assert again == (vector if isinstance(vector, str) else pytest.approx(vector, rel=1e-6))
    assert embeddings.request(sent, sent["model"]) == sent


@pytest.mark.parametrize("name", recordings("openai", "error", endpoint="embeddings"))
def test_a_recorded_embeddings_error_is_no_reply(name: str) -> None:
    with pytest.raises(UpstreamFault):
        embeddings.reply(load(name)["response"]["body"], Call(Capability.EMBEDDINGS, "asked", messages=1))
