"""Money, whatever is spoken: the hold covers all that is sent, what failed is free, receipts and books add up."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from tests.dialects import stories
from tests.dialects.pure import deployment, passage
from tests.dialects.rig import CLIENTS, UPSTREAMS, Rig, Seen, assert_free, cut_stream, open_rig
from tests.dialects.stories import conversations
from tests.dialects.story import Conversation, Picture, Result
from tests.fakes.upstream import json_reply, sse_reply
from tokenhub.billing import bound
from tokenhub.operations import ledger

PAIRS = [(inbound, upstream) for inbound in CLIENTS for upstream in UPSTREAMS]
each_pair = pytest.mark.parametrize(("inbound", "upstream"), PAIRS, ids=lambda name: name)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("money")) as opened:
        yield opened


def text_bytes(value: Any) -> int:
    """Return the bytes of all text in a JSON value, pictures left out: what a prompt is made of."""
    if isinstance(value, str):
        return 0 if stories.PIXEL in value else len(value.encode())
    if isinstance(value, dict):
        return sum(text_bytes(name) + text_bytes(one) for name, one in value.items())
    return sum(map(text_bytes, value)) if isinstance(value, list) else 0


PROMPT = ("messages", "system", "tools", "input", "instructions", "contents", "systemInstruction")
"""The members of a request that become prompt, in all dialects."""


@each_pair
@settings(max_examples=15)
@given(conversation=conversations())
def test_a_hold_covers_the_whole_prompt_that_is_sent(inbound: str, upstream: str, conversation: Conversation) -> None:
    way = passage(CLIENTS[inbound].ask(conversation, UPSTREAMS[upstream].MODEL, "th-key"), upstream)
    assert bound.prompt_most(way.call, deployment(upstream)) >= sent(way.body)
    assert way.call.images == sum(isinstance(part, Picture) for turn in conversation.turns for part in turn.parts)
    assert way.call.max_output == conversation.limit
    assert way.call.uses_tools == bool(conversation.tools)


@each_pair
def test_a_hold_covers_thoughts_that_come_back(inbound: str, upstream: str) -> None:
    client, asked = CLIENTS[inbound], CLIENTS[inbound].ask(stories.FORECAST, UPSTREAMS[upstream].MODEL, "th-key")
    reply = passage(asked, upstream).whole(UPSTREAMS[upstream].say(stories.THOUGHTFUL_CALL))
    call = client.hear(reply).calls[0]
    way = passage(client.goes_on(asked, reply, [Result(call.id, "rain")]), upstream)
    assert bound.prompt_most(way.call, deployment(upstream)) >= sent(way.body)


_PDF = base64.b64encode(b"%PDF-1.4 nothing").decode()
_URL = "https://example.com/it"
ATTACHED: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "files": {
        "chat data": {
            "type": "file",
            "file": {"file_data": f"data:application/pdf;base64,{_PDF}", "filename": "a.pdf"},
        },
        "messages data": {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": _PDF},
        },
        "messages address": {"type": "document", "source": {"type": "url", "url": _URL}},
        "responses data": {
            "type": "input_file",
            "file_data": f"data:application/pdf;base64,{_PDF}",
            "filename": "a.pdf",
        },
        "responses address": {"type": "input_file", "file_url": _URL},
        "gemini data": {"inlineData": {"mimeType": "application/pdf", "data": _PDF}},
        "gemini address": {"fileData": {"mimeType": "application/pdf", "fileUri": _URL}},
    },
    "images": {
        "chat address": {"type": "image_url", "image_url": {"url": _URL}},
        "messages address": {"type": "image", "source": {"type": "url", "url": _URL}},
        "responses address": {"type": "input_image", "image_url": _URL},
        "gemini address": {"fileData": {"mimeType": "image/png", "fileUri": _URL}},
    },
    "audio_parts": {
        "chat data": {"type": "input_audio", "input_audio": {"data": _PDF, "format": "wav"}},
        "gemini data": {"inlineData": {"mimeType": "audio/wav", "data": _PDF}},
    },
}
"""What a request may hold beside text, as each dialect says it, by how the hold counts it."""


@pytest.mark.parametrize(
    ("counted", "form"),
    [(counted, form) for counted, forms in ATTACHED.items() for form in forms],
    ids=lambda name: name,
)
def test_a_hold_counts_what_is_attached(counted: str, form: str) -> None:
    inbound = form.split()[0]
    upstream = "gemini" if inbound in ("chat", "gemini") else "messages"
    asked = CLIENTS[inbound].ask(stories.TALK, UPSTREAMS[upstream].MODEL, "th-key")
    turns = next(asked.body[name] for name in ("messages", "input", "contents") if name in asked.body)
    parts = "parts" if inbound == "gemini" else "content"
    said = turns[-1][parts]
    turns[-1][parts] = [*([{"type": "text", "text": said}] if isinstance(said, str) else said), ATTACHED[counted][form]]
    way = passage(asked, upstream)
    assert (way.call.files, way.call.images, way.call.audio_parts) == tuple(
        int(name == counted) for name in ("files", "images", "audio_parts")
    )


@each_pair
def test_a_limit_that_a_small_balance_sets_reaches_the_upstream(inbound: str, upstream: str) -> None:
    asked = CLIENTS[inbound].ask(replace(stories.TALK, limit=None), UPSTREAMS[upstream].MODEL, "th-key")
    way = passage(asked, upstream, output_limit=1500)
    assert UPSTREAMS[upstream].asked(way.path, way.body).limit == 1500


@pytest.mark.parametrize(
    ("inbound", "more"), [("chat", {"n": 3}), ("gemini", {"generationConfig": {"candidateCount": 3}})]
)
def test_a_hold_covers_each_choice(inbound: str, more: dict[str, Any]) -> None:
    asked = CLIENTS[inbound].ask(stories.TALK, UPSTREAMS["gemini"].MODEL, "th-key")
    asked.body.update(more)
    way = passage(asked, "gemini")
    assert way.call.choices == 3
    assert way.body["generationConfig"]["candidateCount"] == 3


def sent(body: dict[str, Any]) -> int:
    return sum(text_bytes(value) for name, value in body.items() if name in PROMPT)


@pytest.mark.parametrize("inbound", CLIENTS)
def test_receipts_and_books_add_up_over_every_upstream(rig: Rig, inbound: str) -> None:
    client, before = CLIENTS[inbound], rig.gateway.balance()
    charged = 0
    for upstream in UPSTREAMS.values():
        for stream in (False, True):
            asked = client.ask(stories.TALK, upstream.MODEL, rig.gateway.key, stream=stream)
            seen = rig.exchange(client, upstream, asked, stories.ANSWER, stories.TALK)
            charged += seen.row["charged"]
            assert_receipt(rig, seen, Decimal(seen.row["charged"]).scaleb(-9))
        failed = rig.send(
            client.ask(stories.TALK, upstream.MODEL, rig.gateway.key), json_reply(upstream.REFUSALS["broken"][1], 500)
        )
        assert_free(rig.row(failed))
        frames = upstream.stream(stories.ANSWER)
        cut = rig.send(
            client.ask(stories.TALK, upstream.MODEL, rig.gateway.key, stream=True),
            cut_stream(frames, len(frames) - 4, *upstream.BREAKS),
        )
        assert_free(rig.row(cut))
    assert before - rig.gateway.balance() == charged > 0
    assert ledger.verify(rig.gateway.hub) == []


def assert_receipt(rig: Rig, seen: Seen, total: Decimal) -> None:
    """The receipt of a request is its two lines, and their sum is what was charged."""
    answer = rig.gateway.call("GET", f"/v1/generation?id={seen.headers['x-request-id']}")
    receipt = answer.json()["data"]
    assert Decimal(receipt["cost_details"]["total"]) == total
    assert Decimal(receipt["cost_details"]["model_fee"]) + Decimal(receipt["cost_details"]["service_fee"]) == total


def without_usage(value: Any) -> Any:
    """Return a reply or an event without any member that counts."""
    if isinstance(value, list):
        return [without_usage(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: without_usage(one) for name, one in value.items() if name not in ("usage", "usageMetadata")}


def uncounted(frame: bytes) -> bytes:
    """Return a frame that counts nothing; Anthropic's first event keeps its counts, which are not the reply's."""
    head, mark, data = frame.partition(b"data: ")
    if not data.startswith(b"{") or b"message_start" in head:
        return frame
    return head + mark + json.dumps(without_usage(json.loads(data))).encode() + b"\n\n"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@each_pair
def test_a_reply_that_nobody_counted_is_charged_by_estimate_and_says_so(
    rig: Rig, inbound: str, upstream: str, stream: bool
) -> None:
    client, module = CLIENTS[inbound], UPSTREAMS[upstream]
    asked = client.ask(stories.TALK, module.MODEL, rig.gateway.key, stream=stream)
    frames = map(uncounted, module.stream(stories.ANSWER))
    said = sse_reply(list(frames)) if stream else json_reply(without_usage(module.say(stories.ANSWER)))
    answer = rig.send(asked, said)
    assert answer.status == 200, answer.body
    reply = client.from_stream(answer.body) if stream else answer.json()
    row = rig.row(answer)
    assert (row["end"], row["estimated"]) == ("settled", 1)
    assert 0 < row["charged"] <= row["held"]
    usage = client.bill(reply)
    assert usage["cost_details"]["estimated"] is True
    assert Decimal(usage["cost_details"]["total"]) == Decimal(row["charged"]).scaleb(-9)
    assert client.counts(usage).output > 0
