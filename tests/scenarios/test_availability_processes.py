"""Availability across processes: what one finds out all know, and one request among all is the probe (T76, T81)."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import process_environment
from tests.fakes.upstream import FakeUpstream, Received, Reply, WaitFor, json_reply, openai_chat, openai_error
from tests.serving import Serving
from tokenhub.operations import accounts, credentials, grants, keys, plans, providers
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.providers import OwnProvider
from tokenhub.store import circuits

NAME = "starter/chain"
DOWN = json_reply(openai_error("down", type="server_error"), 500)


def says(name: str) -> Reply:
    return json_reply(openai_chat(f"I am {name}."))


class Pair:
    """Two gateway processes on one store, and two providers, alpha before beta."""

    def __init__(self, hub: Hub, alpha: FakeUpstream, beta: FakeUpstream) -> None:
        self.hub, self.alpha, self.beta = hub, alpha, beta
        account_id = accounts.create(hub, "acme").account.id
        accounts.change(hub, account_id, {"key_rpm": 10_000, "account_rpm": 10_000, "concurrency": 1_000})
        grants.grant(hub, account_id, 10**12, expires_at_ms=None)
        self.key = keys.create(hub, account_id).secret
        self.ids = {}
        for name, fake in (("alpha", alpha), ("beta", beta)):
            model = OwnModel("shared-model", f"{name}-model", {"input": "1", "output": "2"}, context=10_000)
            providers.add(hub, OwnProvider(name, fake.url, [model]))
            self.ids[name] = credentials.add(hub, NewCredential(name, f"sk-{name}-upstream-0001")).id
        plans.change(hub, "starter", {}, model_names={NAME: ("alpha/shared-model", "beta/shared-model")})
        self.gateways: list[Serving] = []

    def ask(self, number: int) -> str:
        answer = self.gateways[number % 2].chat(NAME, f"question {number}")
        assert answer.status == 200, answer.body
        return str(answer.json()["choices"][0]["message"]["content"])


@pytest.fixture
def pair(hub: Hub, tmp_path: Path) -> Iterator[Pair]:
    with FakeUpstream(lambda _: says("alpha")) as alpha, FakeUpstream(lambda _: says("beta")) as beta:
        made = Pair(hub, alpha, beta)
        environment = process_environment(hub.settings, hub.home)
        with ExitStack() as stack:
            made.gateways = [
                stack.enter_context(Serving(environment, tmp_path / f"{number}.log", key=made.key))
                for number in range(2)
            ]
            yield made


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_t81_what_one_process_finds_out_another_knows_and_one_request_of_both_is_the_probe(pair: Pair) -> None:
    pair.alpha.script = lambda _: DOWN
    for _ in range(5):
        assert pair.ask(0) == "I am beta."
    name = f"alpha/shared-model@default#{pair.ids['alpha']}"
    until(lambda: name in circuits.read(pair.hub.database).circuits)
    with pair.hub.database.write():  # a pause long enough to see that nobody asks
        pair.hub.database.execute("UPDATE circuits SET open_until = open_until + 4000, backoff_ms = 4000")
    time.sleep(1.5)
    asked = len(pair.alpha.received)
    assert {pair.ask(number) for number in range(6)} == {"I am beta."}
    assert len(pair.alpha.received) == asked

    go = threading.Event()

    def gated(_: Received) -> Reply:
        return [WaitFor(go), *says("alpha")]

    pair.alpha.script = gated
    until(lambda: circuits.read(pair.hub.database).circuits[name].is_due(int(time.time() * 1000)))
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(pair.ask, number) for number in range(20)]
        until(lambda: sum(one.done() for one in answers) == 19)
        assert len(pair.alpha.received) == asked + 1
        go.set()
        assert sorted(one.result() for one in answers) == ["I am alpha."] + ["I am beta."] * 19
    until(lambda: [pair.ask(number) for number in range(2)] == ["I am alpha."] * 2, 3)


def test_t76_a_credential_that_one_process_finds_refused_is_used_by_none(pair: Pair) -> None:
    pair.alpha.script = lambda _: json_reply(
        openai_error("no", type="authentication_error", code="invalid_api_key"), 401
    )
    assert pair.ask(0) == "I am beta."
    until(lambda: credentials.find(pair.hub, pair.ids["alpha"]).status == "failed")
    assert {pair.ask(number) for number in range(8)} == {"I am beta."}
    assert len(pair.alpha.received) == 1
    pair.alpha.script = lambda _: says("alpha")
    credentials.set_status(pair.hub, pair.ids["alpha"], "active")
    assert [pair.ask(number) for number in range(4)] == ["I am alpha."] * 4
