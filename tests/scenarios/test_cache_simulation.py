"""What stickiness is worth: conversations through a real gateway, to upstreams that keep real prefix caches.

Many conversations go on at once over three providers of one model, one of which flaps. Their
hit rate, as ``tokenhub usage`` reports it, is held against that of a single provider that
never fails, and shown beside that of the same load without stickiness.

``python -m tests.scenarios.test_cache_simulation`` runs it at full size and writes the table
into ``docs/caching.md``.
"""

import http.client
import json
import os
import random
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.prefix_cache import CachingUpstream
from tests.fakes.upstream import FakeUpstream
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.operations import providers, usage
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.providers import OwnProvider

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
MODEL = "house-model"
PRICES = {"input": "1", "cached_input": "0.1", "output": "4"}
CLIENTS = 8
OUTAGES = 6
"""How often the flapping provider goes away and comes back in a run; it is away half of the time."""
WORDS = ("seven", "wizards", "box", "with", "five", "dozen", "liquor", "jugs", "while", "a", "lazy", "dog", "sleeps")


@dataclass(frozen=True)
class Size:
    conversations: int
    turns: int


SMALL, FULL = Size(32, 12), Size(240, 20)


@dataclass(frozen=True)
class Setting:
    name: str
    providers: int
    flaps: bool = False
    sticky: bool = True


SINGLE = Setting("one provider that never fails", 1)
SETTINGS = (
    SINGLE,
    Setting("three providers", 3),
    Setting("three providers, one of them flapping", 3, flaps=True),
    Setting("three providers, without stickiness", 3, sticky=False),
    Setting("three providers, one of them flapping, without stickiness", 3, flaps=True, sticky=False),
)


@dataclass(frozen=True)
class Outcome:
    setting: Setting
    requests: int
    answered: int
    attempts: int
    hit_rate: float
    saved_nano: int


def said(rng: random.Random, tokens: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(tokens * 4 // 5))


class Run:
    """One setting: its gateway, its upstreams, and all conversations turn by turn."""

    def __init__(self, setting: Setting, size: Size) -> None:
        self.setting, self.size = setting, size
        self.done = self.answered = self.attempts = 0
        self._lock = threading.Lock()

    def run(self, folder: Path) -> Outcome:
        with self._gateway(folder) as gateway, ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda number: self._client(gateway, number), range(CLIENTS)))
            gateway.settled(self.answered, seconds=20)
            (line,) = usage.report(gateway.hub, "model", since_ms=0).lines
        total = self.size.conversations * self.size.turns
        assert self.done == total
        return Outcome(
            self.setting, total, self.answered, self.attempts, line.cache_hit_rate or 0.0, line.sums.saved_nano or 0
        )

    @contextmanager
    def _gateway(self, folder: Path) -> Iterator[RunningGateway]:
        with ExitStack() as stack:
            scripts = [CachingUpstream(_answer) for _ in range(self.setting.providers)]
            if self.setting.flaps:
                scripts[0] = CachingUpstream(_answer, self._is_down)
            gateway = start_gateway(temporary_home(folder))
            stack.callback(gateway.stop)
            for number, script in enumerate(scripts):
                fake = stack.enter_context(FakeUpstream(script, keep=1))
                name = f"provider-{number}"
                providers.add(gateway.hub, OwnProvider(name, fake.url, [OwnModel(MODEL, MODEL, PRICES)]))
                gateway.add_credential(name, fake.url)
            yield gateway

    def _is_down(self) -> bool:
        progress = self.done / (self.size.conversations * self.size.turns)
        return (progress * OUTAGES) % 1 >= 0.5

    def _client(self, gateway: RunningGateway, number: int) -> None:
        """Lead a share of the conversations, all of them turn by turn."""
        rng = random.Random(number)
        mine = range(number, self.size.conversations, CLIENTS)
        system = {"role": "system", "content": said(random.Random(0), 300)}
        talks: dict[int, list[dict[str, Any]]] = {one: [system] for one in mine}
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        for _ in range(self.size.turns):
            for one in rng.sample(list(mine), len(mine)):
                talks[one].append({"role": "user", "content": said(rng, rng.randrange(60, 400))})
                answer = self._ask(connection, gateway.key, talks[one], rng)
                talks[one].append({"role": "assistant", "content": answer})
        connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, key: str, messages: list[dict[str, Any]], rng: random.Random
    ) -> str:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        if not self.setting.sticky:
            headers["x-session-id"] = rng.randbytes(8).hex()
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": MODEL, "messages": messages}), headers)
        reply = connection.getresponse()
        body = json.loads(reply.read())
        with self._lock:
            self.done += 1
            self.answered += reply.status == 200
            self.attempts += int(reply.headers.get("x-tokenhub-attempts") or 0)
        return body["choices"][0]["message"]["content"] if reply.status == 200 else "(no answer)"


def _answer(body: dict[str, Any]) -> str:
    """Answer at length; the same conversation gets the same answer wherever it goes."""
    rng = random.Random(len(body["messages"]) * 7919 + len(body["messages"][-1]["content"]))
    return said(rng, rng.randrange(40, 250))


def simulate(size: Size, folder: Path) -> list[Outcome]:
    return [Run(setting, size).run(folder / str(number)) for number, setting in enumerate(SETTINGS)]


@pytest.mark.soak
def test_cache_hit_rate_survives_a_flapping_provider(tmp_path):
    size = FULL if SOAK else SMALL
    outcomes = simulate(size, tmp_path)
    print("\n" + table(outcomes))
    single, three, flapping, loose, loose_flapping = (one.hit_rate for one in outcomes)
    assert all(one.answered >= 0.98 * one.requests for one in outcomes), "outages are covered, within the retry budget"
    assert outcomes[2].attempts > outcomes[2].requests, "the provider did flap"
    assert three >= 0.99 * single
    assert flapping >= 0.95 * single
    assert loose < 0.9 * single
    assert loose_flapping < flapping


def table(outcomes: list[Outcome]) -> str:
    single = outcomes[0].hit_rate
    lines = [
        "| setting | requests | answered | attempts per request | prompt tokens from caches | of the single provider's rate | saved, in USD |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.setting.name} | {one.requests:,} | {one.answered:,} | {one.attempts / one.requests:.3f} | "
        f"{one.hit_rate:.1%} | {one.hit_rate / single:.1%} | {one.saved_nano / 1e9:.2f} |"
        for one in outcomes
    ]
    return "\n".join(lines)


def main() -> None:
    """Run at full size and write the table into the docs."""
    page = Path(__file__).parents[2] / "docs" / "caching.md"
    with tempfile.TemporaryDirectory() as folder:
        found = table(simulate(FULL, Path(folder)))
    print(found)
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition("<!-- simulation -->\n")
    _, end, after = rest.partition("<!-- end of simulation -->")
    assert begin
    assert end
    page.write_text(f"{before}{begin}{found}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
