"""A gateway, and one upstream behind four providers that answers each in its own dialect."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from tests.dialects.clients import chat, gemini, messages, responses
from tests.dialects.story import Ask, Conversation, Outcome, plainly
from tests.dialects.upstreams import chat as to_chat
from tests.dialects.upstreams import gemini as to_gemini
from tests.dialects.upstreams import messages as to_messages
from tests.dialects.upstreams import responses as to_responses
from tests.fakes.stage import PRICES, SECRET, bill_of, dripped
from tests.fakes.upstream import FakeUpstream, Pause, Received, Reply, json_reply, sse_reply
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.catalog import load
from tokenhub.catalog.load import Override
from tokenhub.operations import credentials
from tokenhub.operations.credentials import NewCredential
from tokenhub.store import catalog as store

CLIENTS: Mapping[str, ModuleType] = {one.NAME: one for one in (chat, messages, responses, gemini)}
UPSTREAMS: Mapping[str, ModuleType] = {one.NAME: one for one in (to_chat, to_messages, to_responses, to_gemini)}

PLAIN_PROVIDER = {
    "name": "A provider of chat completions",
    "adapter": "openai_compatible",
    "regions": [{"id": "default", "base_url": "https://plain.example/v1", "data_region": "eu"}],
}
PLAIN_MODEL = {
    "capability": "chat",
    "context": 200_000,
    "max_output": 64_000,
    "input_modalities": ["text", "image"],
    "offerings": [{"provider": "plain", "regions": ["default"], "upstream_id": "plain-1", "price": PRICES}],
}


@dataclass
class Seen:
    """One exchange: what the upstream was sent, what the client got, what the ledger has."""

    asked: Ask
    received: Received
    reply: dict[str, Any]
    row: dict[str, Any]
    headers: Mapping[str, str]
    body: bytes


class Rig:
    """The gateway and its upstream; ``exchange`` plays one request and checks all that must hold of any."""

    def __init__(self, gateway: RunningGateway, fake: FakeUpstream) -> None:
        self.gateway, self.fake = gateway, fake
        self.chance = random.Random(20261122)

    def send(self, ask: Ask, *replies: Reply) -> Answer:
        """Send a request while the upstream plays these replies; what was played before is not held against it."""
        self.ready(*replies)
        return self.gateway.call("POST", ask.path, ask.body, ask.headers)

    def ready(self, *replies: Reply) -> None:
        """Forget what was played before; these replies are next."""
        self.gateway.forget_faults()
        self.fake.replies.clear()
        self.fake.received.clear()
        self.fake.add(*replies)

    def send_scripted(self, ask: Ask, script: Callable[[Received], Reply]) -> Answer:
        """Send a request while the upstream answers by this script."""
        usual, self.fake.script = self.fake.script, script
        try:
            return self.send(ask)
        finally:
            self.fake.script = usual

    def row(self, answer: Answer) -> dict[str, Any]:
        return self.gateway.row_of(answer)

    def exchange(
        self, client: ModuleType, upstream: ModuleType, asked: Ask, outcome: Outcome, expected: Conversation
    ) -> Seen:
        """Let the upstream answer a request with this outcome: it is asked what was meant, the client is told what it said."""
        answer = self.send(asked, self.played(upstream, outcome, stream=asked.stream))
        assert answer.status == 200, answer.body
        received = self.fake.received[-1]
        assert upstream.takes(received.path), received.path
        assert plainly(upstream.asked(received.path, received.json())) == plainly(expected)
        reply = client.from_stream(answer.body) if asked.stream else answer.json()
        heard = client.hear(reply)
        assert heard.said == outcome.said
        row = self.row(answer)
        seen = Seen(asked, received, reply, row, answer.headers, answer.body)
        assert_billed(client, seen, outcome)
        return seen

    def played(self, upstream: ModuleType, outcome: Outcome, *, stream: bool) -> Reply:
        """Return what the upstream says; a stream comes in pieces that end anywhere."""
        if not stream:
            return json_reply(upstream.say(outcome))
        return dripped(b"".join(upstream.stream(outcome)), self.chance, headers={"content-type": "text/event-stream"})


def cut_stream(frames: Sequence[bytes], count: int, *steps: Any) -> Reply:
    """Return a stream's first frames, each in a read of its own, and then these steps."""
    shown = [step for frame in frames[:count] for step in (frame, Pause(0.004))]
    return sse_reply([*shown, *steps])


def assert_billed(client: ModuleType, seen: Seen, outcome: Outcome) -> None:
    """The bill is usage times price and the fee on it, to the nano-USD, within its hold, and the client is told so."""
    row = seen.row
    assert (row["end"], row["status"], row["estimated"], row["shortfall"]) == ("settled", 200, 0, 0)
    assert (row["model_fee"], row["service_fee"]) == bill_of(outcome.counts.buckets)
    assert 0 < row["charged"] == row["model_fee"] + row["service_fee"] <= row["held"]
    usage = client.bill(seen.reply)
    assert client.counts(usage).seen == outcome.counts.seen
    assert Decimal(usage["cost_details"]["total"]) == Decimal(row["charged"]).scaleb(-9)
    assert usage["cost"] == float(Decimal(row["charged"]).scaleb(-9))
    assert usage["cost_details"]["estimated"] is False
    assert usage["is_byok"] is False
    if not seen.asked.stream:
        assert Decimal(seen.headers["x-tokenhub-cost"]) == Decimal(row["charged"]).scaleb(-9)


def assert_free(row: Mapping[str, Any]) -> None:
    assert (row["end"], row["charged"], row["model_fee"], row["service_fee"]) == ("released", 0, 0, 0)


@contextmanager
def open_rig(
    folder: Path, more: Sequence[Override] = (), flags: Mapping[str, object] = MappingProxyType({})
) -> Iterator[Rig]:
    """Serve from a new home whose four providers have one price list and one upstream; ``more`` is added to its catalogue."""
    gateway = start_gateway(temporary_home(folder), {"upstream.idle_s": 5.0, **flags}, credit_nano=10**18)
    try:
        with FakeUpstream([]) as fake:
            _set_up(gateway, fake, more)
            yield Rig(gateway, fake)
    finally:
        gateway.stop()


def _set_up(gateway: RunningGateway, fake: FakeUpstream, more: Sequence[Override]) -> None:
    shipped = load.load()
    rows = [Override("provider", "plain", PLAIN_PROVIDER), Override("model", "plain-chat", PLAIN_MODEL), *more]
    places = {"plain": "default"}
    for one in UPSTREAMS.values():
        if one.PROVIDER == "plain":
            continue
        rows.append(Override("price", f"{one.PROVIDER}/{one.MODEL}", {"price": PRICES}))
        endpoint = next(found for found in shipped.endpoints[one.MODEL] if found.provider.id == one.PROVIDER)
        places[one.PROVIDER] = endpoint.region.id
    with gateway.hub.database.write():
        for row in rows:
            store.put_override(gateway.hub.database, row, clock.now_ms())
    for provider, region in places.items():
        credentials.add(gateway.hub, NewCredential(provider, SECRET, region, base_url=fake.url))
