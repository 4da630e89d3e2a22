"""A chat reply told as a response: the items, the events, and the way back."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.errors import UpstreamFailed
from tokenhub.usage import Usage
from tokenhub.wire.chat.frames import ChunkWriter
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.replies import Reply, StreamFacts
from tokenhub.wire.responses import items as responses_items
from tokenhub.wire.responses import over_chat as responses_over_chat
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.responses.tools import Tools
from tokenhub.wire.surface import Arrival, End

COST = {"cost": 0.5, "is_byok": False, "cost_details": {"total": "0.5"}}
USAGE = Usage(input=10, cache_read=5, output=7, reasoning=2)
CUSTOM = {"type": "custom", "name": "patch"}
SKY = {"type": "namespace", "name": "sky", "tools": [{"type": "function", "name": "look"}]}


def surface(**fields: Any) -> ResponsesSurface:
    made = ResponsesSurface(Arrival("/v1/responses", {}, {}, 1_800_000_000))
    made.call({"model": "m", "input": "Hi", **fields}, 50)
    return made


def reply(message: dict[str, Any], finish: str = "stop") -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_800_000_001,
        "model": "m-1",
        "choices": [choice],
    }
    return Reply(body, USAGE, finish, finish, "chatcmpl-1", has_content=True)


def whole(message: dict[str, Any], finish: str = "stop", **fields: Any) -> dict[str, Any]:
    told = surface(**fields)
    rendered = told.reply(reply(message, finish))
    return json.loads(rendered.with_usage(orjson.dumps(told.usage(USAGE, COST, None))))


def streamed(deltas: list[dict[str, Any]], finish: str = "stop", **fields: Any) -> list[dict[str, Any]]:
    told, chunks = surface(**fields), ChunkWriter("chatcmpl-1", 1_800_000_001, "m-1")
    body = b"".join(told.feed(chunks.delta(delta)) for delta in deltas)
    facts = StreamFacts(upstream_id="chatcmpl-1")
    body += told.ending(told.hold_back(chunks.finish(finish)), End("req_1", USAGE, COST, facts))
    return events(body)


def events(body: bytes) -> list[dict[str, Any]]:
    found = []
    for frame in body.split(b"\n\n")[:-1]:
        name, data = frame.split(b"\n")
        found.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + found[-1]["type"].encode()
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def call(index: int, name: str, arguments: str, **more: Any) -> dict[str, Any]:
    return {
        "index": index,
        "id": f"call_{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **more,
    }


MESSAGES: dict[str, dict[str, Any]] = {
    "text": {"content": "Hello."},
    "refusal": {"content": None, "refusal": "No."},
    "thoughts": {"reasoning_content": "Hm.", "content": "Yes."},
    "calls": {"content": "I look.", "tool_calls": [call(0, "look", '{"a":1}'), call(1, "other", "{}")]},
    "custom": {"content": None, "tool_calls": [call(0, "patch", '{"input":"*** \\"x\\""}')]},
    "namespace": {"content": None, "tool_calls": [call(0, "sky__look", "{}")]},
    "sealed thoughts": {
        "reasoning_content": "Hm.",
        "content": "Yes.",
        "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}],
    },
    "openai's thoughts": {
        "content": "Yes.",
        "reasoning_details": [
            {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "format": "openai-responses-v1"}
        ],
    },
    "signed calls": {
        "content": None,
        "tool_calls": [call(0, "look", "{}", extra_content={"google": {"thought_signature": "c2ln"}})],
    },
    "signed text": {"content": "Yes.", "extra_content": {"google": {"thought_signature": "c2ln"}}},
}
TOOLS = [{"type": "function", "name": "look"}, {"type": "function", "name": "other"}, CUSTOM, SKY]


def asked_again(output: list[dict[str, Any]]) -> dict[str, Any]:
    """The assistant's message of the next request, when a client sends back what it got."""
    given = [{"role": "user", "content": "Hi"}, *output, {"role": "user", "content": "Go on."}]
    _, *said, _ = responses_over_chat.request({"model": "m", "input": given, "tools": TOOLS}).body["messages"]
    assert len(said) == 1
    return said[0]


def as_sent(message: dict[str, Any]) -> dict[str, Any]:
    """A message as the next chat request holds it: calls have no index, a refusal is no text."""
    calls = [{name: value for name, value in one.items() if name != "index"} for one in message.get("tool_calls", ())]
    sent = {"role": "assistant", "content": None, **message, **({"tool_calls": calls} if calls else {})}
    if sent.pop("refusal", None):
        sent["content"] = [{"type": "refusal", "refusal": message["refusal"]}]
    if sent.get("reasoning_details"):
        known = {"id": sent["reasoning_details"][0]["id"], "format": "openai-responses-v1"}
        sent["reasoning_details"] = [{"type": "reasoning.encrypted", "data": "gAAA", **known}]
    return sent


@pytest.mark.parametrize("kind", MESSAGES)
def test_what_a_client_sends_back_is_the_message_that_the_model_said(kind: str) -> None:
    message = MESSAGES[kind]
    sent = asked_again(whole(message, tools=TOOLS)["output"])
    expected = as_sent(message)
    for detail in (*sent.get("reasoning_details", ()), *expected.get("reasoning_details", ())):
        detail.pop("id", None)  # the item has an id of ours
    assert sent == expected


def test_a_call_without_arguments_has_an_empty_object_of_them() -> None:
    opened = call(0, "look", "")
    told = streamed([{"tool_calls": [opened]}], "tool_calls", tools=TOOLS)
    pieces = [event["delta"] for event in told if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(pieces) == told[-1]["response"]["output"][0]["arguments"] == "{}"
    assert whole({"content": None, "tool_calls": [opened]}, "tool_calls", tools=TOOLS)["output"][0]["arguments"] == "{}"
    cut = whole({"content": None, "tool_calls": [opened]}, "length", tools=TOOLS)["output"][0]
    assert (cut["arguments"], cut["status"]) == ("", "incomplete")


@pytest.mark.parametrize(
    ("name", "arguments"), [("look", "{}"), ("patch", '{"input":"x"}')], ids=["function", "custom"]
)
def test_a_call_says_how_it_is_when_it_begins_and_ends(name: str, arguments: str) -> None:
    """The AI SDK takes no end of a custom tool's call without a status, and fails the whole answer."""
    opened = {"tool_calls": [call(0, name, arguments)]}
    for finish, status in (("tool_calls", "completed"), ("length", "incomplete")):
        told = streamed([opened], finish, tools=TOOLS)
        items = [event["item"]["status"] for event in told if event["type"].startswith("response.output_item.")]
        assert items == ["in_progress", status]


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_stream_has_the_items_of_the_whole_reply(kind: str) -> None:
    message = MESSAGES[kind]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for name in ("reasoning_content", "content", "refusal"):
        deltas += [{name: letter} for letter in message.get(name) or ""]
        if name == "reasoning_content":
            deltas += [
                {other: message[other]} for other in ("thinking_blocks", "reasoning_details") if other in message
            ]
    for one in message.get("tool_calls", ()):
        text = one["function"]["arguments"]
        deltas.append({"tool_calls": [{**one, "function": {**one["function"], "arguments": ""}}]})
        deltas += [{"tool_calls": [{"index": one["index"], "function": {"arguments": letter}}]} for letter in text]
    if "extra_content" in message:
        deltas.append({"extra_content": message["extra_content"]})
    told = streamed(deltas, tools=TOOLS)
    assert told[-1]["response"] == whole(message, tools=TOOLS)


TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=30)
SAID = st.lists(
    st.one_of(
        st.fixed_dictionaries({"content": TEXTS}),
        st.fixed_dictionaries({"reasoning_content": TEXTS}),
        st.fixed_dictionaries({"refusal": TEXTS}),
        st.integers(0, 3).map(lambda at: {"tool_calls": [call(at, "look", "")]}),
        st.tuples(st.integers(0, 3), TEXTS).map(
            lambda piece: {"tool_calls": [{"index": piece[0], "function": {"arguments": piece[1]}}]}
        ),
    ),
    max_size=25,
)


@given(SAID, st.sampled_from(["stop", "length", "content_filter", "tool_calls"]))
def test_any_stream_is_whole_and_in_order(deltas: list[dict[str, Any]], finish: str) -> None:
    """Every item begins, grows and ends once; what grew is what the end says; nothing of the text is lost."""
    told = streamed(deltas, finish, tools=TOOLS)
    assert [event["type"] for event in told[:2]] == ["response.created", "response.in_progress"]
    state = "incomplete" if finish in ("length", "content_filter") else "completed"
    assert told[-1]["type"] == f"response.{state}"
    output = told[-1]["response"]["output"]
    added = [event["output_index"] for event in told if event["type"] == "response.output_item.added"]
    assert added == list(range(len(output)))
    done = {event["output_index"]: event["item"] for event in told if event["type"] == "response.output_item.done"}
    assert [done[index] for index in range(len(output))] == output
    assert len({item["id"] for item in output}) == len(output)
    assert max((len(item["id"]) for item in output), default=0) <= 64
    for kind, member in (
        ("output_text", "content"),
        ("refusal", "refusal"),
        ("reasoning_summary_text", "reasoning_content"),
    ):
        grew = "".join(event["delta"] for event in told if event["type"] == f"response.{kind}.delta")
        ended = "".join(
            event["text" if kind != "refusal" else "refusal"]
            for event in told
            if event["type"] == f"response.{kind}.done"
        )
        assert grew == ended == "".join(delta.get(member, "") for delta in deltas)


def test_the_end_has_usage_and_cost() -> None:
    expected = {
        "input_tokens": 15,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 22,
        **COST,
    }
    assert whole({"content": "Hi"})["usage"] == expected
    assert streamed([{"content": "Hi"}])[-1]["response"]["usage"] == expected


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete(finish: str, reason: str) -> None:
    got = whole({"content": "Hel"}, finish)
    assert (got["status"], got["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert got["output"][0]["status"] == "incomplete"
    last = streamed([{"content": "Hel"}], finish)[-1]
    assert (last["type"], last["response"]) == ("response.incomplete", got)


def test_a_response_repeats_what_was_asked_and_says_that_nothing_is_stored() -> None:
    asked = {"instructions": "Be brief.", "temperature": 0.3, "tools": [SKY], "metadata": {"a": "b"}, "store": True}
    got = whole({"content": "Hi"}, **asked)
    assert {name: got[name] for name in asked} == {**asked, "store": False}
    assert (got["id"], got["created_at"], got["model"]) == ("resp_chatcmpl-1", 1_800_000_001, "m-1")


def test_sources_and_log_probabilities_come_along() -> None:
    cited = {"start_index": 0, "end_index": 2, "url": "https://x", "title": "X"}
    token = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    told, chunks = surface(), ChunkWriter("c", 1, "m")
    body = told.feed(chunks.delta({"content": "Hi"}, logprobs={"content": [token]}))
    body += told.feed(chunks.delta({"annotations": [{"type": "url_citation", "url_citation": cited}, {"type": "odd"}]}))
    body += told.ending(told.hold_back(chunks.finish("stop")), End("req_1", USAGE, COST, StreamFacts()))
    part = events(body)[-1]["response"]["output"][0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **cited}]
    assert part["logprobs"] == [token]


def test_a_picture_is_an_item_of_its_own() -> None:
    got = whole(
        {"content": "Here:", "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}
    )
    assert [item["type"] for item in got["output"]] == ["message", "image_generation_call"]
    assert got["output"][1]["result"] == "AAAA"


@pytest.mark.parametrize("url", ["data:image/jpeg;base64,AAAA", "https://x.example/a,b.png"])
def test_a_picture_that_comes_back_is_the_models_own_again(url: str) -> None:
    """ "Make it darker" is said of it."""
    images = [{"type": "image_url", "image_url": {"url": url}}]
    output = whole({"content": "Here:", "images": images})["output"]
    history = [{"role": "user", "content": "Draw"}, *output, {"role": "user", "content": "Darker"}]
    assert responses_items.messages_of(None, history, Tools())[1] == {
        "role": "assistant",
        "content": "Here:",
        "images": images,
    }


def test_an_error_in_a_stream_has_its_words_twice_and_ends_the_response() -> None:
    told, chunks = surface(), ChunkWriter("c", 1, "m")
    body = told.feed(chunks.delta({"content": "Hel"}))
    error = UpstreamFailed("It broke.", metadata={"provider": "maker"})
    body += told.error_frame(error, "req_1")
    *_, said, failed = events(body)
    assert (said["type"], said["code"], said["message"]) == ("error", "upstream_error", "It broke.")
    assert said["error"]["metadata"] == {"provider": "maker"}
    assert said["error"]["request_id"] == "req_1"
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": "It broke."}


def test_an_error_before_anything_was_said_is_whole_too() -> None:
    assert [event["type"] for event in events(surface().error_frame(UpstreamFailed("No."), "req_1"))] == [
        "error",
        "response.failed",
    ]


def test_frames_that_are_no_chunks_are_skipped_and_broken_ones_fail() -> None:
    told = surface()
    assert told.feed(b": hello\n\ndata: 5\n\n") == b""
    with pytest.raises(UpstreamFault):
        told.feed(b"data: {broken\n\n")


@pytest.mark.parametrize("odd", [{}, ["length"]])
def test_an_end_that_is_no_word_is_a_plain_one(odd: Any) -> None:
    assert streamed([{"content": "Hi"}], odd)[-1]["type"] == "response.completed"
    assert whole({"content": "Hi"}, odd)["status"] == "completed"
