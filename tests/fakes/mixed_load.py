"""Clients of every kind against one gateway, and an upstream that answers each in a way of its own.

Each request carries a name as its prompt. What is asked for, how the upstream answers and what
it costs follow from the name, so that afterwards the ledger can be held against what every
single client saw.
"""

import asyncio
import json
import random
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tests.fakes.upstream import (
    Cut,
    Pause,
    Received,
    Reply,
    json_reply,
    openai_chat,
    openai_error,
    openai_stream,
    openai_usage,
    sse_reply,
)
from tokenhub.billing import invariants
from tokenhub.billing.invariants import RequestSums, Seen
from tokenhub.store import requests
from tokenhub.store.database import Database

MODEL: Final = "gpt-4o-mini"
INPUT_NANO, OUTPUT_NANO, FEE_BP = 150, 600, 300
"""What MODEL costs a token, and the service fee of the plan."""
UPSTREAM_ID: Final = "chatcmpl-"

PLAIN, STREAM, LEAVE_EARLY, LEAVE_LATE, REFUSED, BROKEN = "plain", "stream", "early", "late", "refused", "broken"
KINDS: Final = (PLAIN,) * 3 + (STREAM,) * 4 + (LEAVE_EARLY, LEAVE_LATE, LEAVE_LATE, REFUSED, BROKEN)
"""A whole reply; a stream; a client that leaves before, after content; an upstream that refuses, breaks off."""


@dataclass(slots=True)
class Told:
    """One request and what its client saw of it."""

    name: str
    request_id: str = ""
    status: int = 0
    seen: Seen = Seen.UNKNOWN

    @property
    def kind(self) -> str:
        return self.name.split("-")[0]


def new_name(chance: random.Random) -> str:
    return f"{chance.choice(KINDS)}-{chance.getrandbits(64):016x}"


def usage_of(name: str) -> tuple[int, int]:
    """Prompt and completion tokens that the upstream reports for this request: within its hold."""
    number = int(name.rpartition("-")[2], 16)
    return 20 + number % 60, 10 + number // 60 % 90


def cost_of(name: str) -> int:
    """What this request costs, if it is charged; nano-USD."""
    if name.split("-")[0] in (REFUSED, BROKEN):
        return 0
    prompt, completion = usage_of(name)
    model_fee = prompt * INPUT_NANO + completion * OUTPUT_NANO
    return model_fee - (-model_fee * FEE_BP // 10_000)


def answer(request: Received) -> Reply:
    """The upstream's script."""
    body = request.json()
    name = body["messages"][-1]["content"]
    usage = openai_usage(*usage_of(name))
    kind = name.split("-")[0]
    if kind == REFUSED:
        return json_reply(openai_error("broken", code="server_error"), status=500)
    if not body.get("stream"):
        return [Pause(0.01), *json_reply(openai_chat(f"answer to {name}", usage=usage) | {"id": UPSTREAM_ID + name})]
    frames = [
        frame.replace(b"chatcmpl-fake00000000000000000000002", (UPSTREAM_ID + name).encode())
        for frame in openai_stream([f"piece{number} " for number in range(6)], usage=usage)
    ]
    steps = [step for frame in frames for step in (frame, Pause(0.002))]
    return sse_reply([*steps[:6], Cut()] if kind == BROKEN else steps)


async def run(port: int, key: str, *, clients: int, chance: random.Random, is_over: Callable[[], bool]) -> list[Told]:
    """Send requests, so many at a time, until it is over; return what each client saw."""
    told: list[Told] = []

    async def client() -> None:
        while not is_over():
            one = Told(new_name(chance))
            told.append(one)
            with suppress(OSError, asyncio.IncompleteReadError):
                await _ask(one, port, key, chance)
            if not one.status:
                await asyncio.sleep(0.005)

    await asyncio.gather(*(client() for _ in range(clients)))
    return told


async def _ask(one: Told, port: int, key: str, chance: random.Random) -> None:
    body = json.dumps(
        {
            "model": MODEL,
            "stream": one.kind in (STREAM, LEAVE_LATE, BROKEN) or (one.kind == LEAVE_EARLY and chance.random() < 0.5),
            "max_tokens": 100,
            "messages": [{"role": "user", "content": one.name}],
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + body)
        if one.kind == LEAVE_EARLY:
            await asyncio.sleep(chance.random() * 0.01)
            return _leave(writer, chance)
        headers = _read_head(one, await reader.readuntil(b"\r\n\r\n"))
        if one.kind == LEAVE_LATE and one.status == 200:
            await reader.readuntil(b"\n\n")
            return _leave(writer, chance)
        _judge(one, headers, await reader.read(-1))
    finally:
        writer.close()


def _leave(writer: asyncio.StreamWriter, chance: random.Random) -> None:
    """Close the connection, by a reset in one of two cases."""
    if chance.random() < 0.5:
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _read_head(one: Told, head: bytes) -> Mapping[str, str]:
    status, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    one.status, one.request_id = int(status.split()[1]), headers.get("x-request-id", "")
    return headers


def _judge(one: Told, headers: Mapping[str, str], body: bytes) -> None:
    """Note whether the client saw a reply's end or an error; a part of a reply is neither."""
    if one.status != 200:
        one.seen = Seen.ERROR
    elif "content-length" in headers:
        if len(body) == int(headers["content-length"]):
            one.seen = Seen.END
    elif b"data: [DONE]\n\n" in body:
        one.seen = Seen.END
    elif b'"finish_reason":"error"' in body:
        one.seen = Seen.ERROR


def check(database: Database, told: list[Told], since_ms: int = 0) -> None:
    """Assert that the ledger charges what these clients may be charged, once each, and nothing else (I3-I6).

    What a client saw whole is settled and what it was told has failed is free. A reply whose
    client saw neither is charged its price or nothing: the crash came between the two.
    """
    wanted = requests.RequestFilter(since_ms=since_ms)
    rows = {row.id: row for row in requests.listing(database, wanted, limit=1_000_000) if row.account_id}
    sums = []
    for one in told:
        row = rows.get(one.request_id)
        assert row is not None or one.seen is not Seen.END, f"{one} was shown whole and is not in the ledger"
        if row is not None:
            amounts = (row.held, row.model_fee, row.service_fee, row.charged, row.charged)
            sums.append(RequestSums(row.id, row.end, *amounts, seen=one.seen))
    assert invariants.check(sums) == []
    charged = {(row.upstream_id or "").removeprefix(UPSTREAM_ID): row for row in rows.values() if row.charged}
    assert len(charged) == sum(row.charged > 0 for row in rows.values()), "a request is charged twice"
    assert set(charged) <= {one.name for one in told}, "something else is charged"
    wrong = {name: row for name, row in charged.items() if row.charged != cost_of(name) or row.estimated}
    assert wrong == {}
    assert all(charged[one.name].id == one.request_id for one in told if one.seen is Seen.END)
