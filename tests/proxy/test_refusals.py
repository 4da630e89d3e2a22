"""What is refused before a hold is explained afterwards, as often as does no harm (T130)."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cli.program import run
from tests.fakes.upstream import FakeUpstream, Received, Reply, json_reply, openai_chat, openai_error, openai_usage
from tests.harness import Answer, RunningGateway, start_gateway
from tokenhub.errors import Unavailable
from tokenhub.observability import log
from tokenhub.operations import accounts, credentials, grants, keys, ledger, preferences, requests, usage
from tokenhub.operations.requests import RequestFilter
from tokenhub.paths import Home
from tokenhub.proxy.refusals import ACCOUNT_BURST, ACCOUNT_EVERY_S, ALL_BURST, ALL_EVERY_S, Refusals
from tokenhub.settings import Settings
from tokenhub.store.database import Database, open_database
from tokenhub.store.refusals import RefusedRequest

MODEL = "gpt-4o-mini"
CANARY = "canary-7f3a-in-a-prompt"


@dataclass
class World:
    """A gateway in front of one provider, and what it logged."""

    gateway: RunningGateway
    fake: FakeUpstream
    logged: io.StringIO
    url: str

    def ask(self, **fields: Any) -> Answer:
        return self.gateway.chat(fields.pop("model", MODEL), CANARY, max_tokens=10, **fields)

    def kept(self, answer: Answer) -> requests.EndedRequest:
        """Return what is kept of a refused request, as soon as it is written."""
        request_id = answer.headers["x-request-id"]
        for _ in range(250):
            rows = self.gateway.rows(f"SELECT id FROM refusals WHERE id = '{request_id}'")
            if rows:
                return requests.find(self.gateway.hub, request_id)
            time.sleep(0.02)
        raise AssertionError(f"{request_id} is not kept: {answer.body!r}")

    def count(self) -> int:
        """Return how many refusals are kept, when no more is on its way."""
        before = -1
        while before != (now := int(self.gateway.rows("SELECT COUNT(*) AS n FROM refusals")[0]["n"])):
            before = now
            time.sleep(0.2)
        return now

    def events(self, name: str) -> list[dict[str, Any]]:
        return [one for one in map(json.loads, self.logged.getvalue().splitlines()) if one["event"] == name]


def reply(_: Received) -> Reply:
    return json_reply(openai_chat("Yes.", usage=openai_usage()))


@pytest.fixture
def world(empty_settings: Settings, home: Home) -> Iterator[World]:
    url = empty_settings.database_url
    stream = io.StringIO()
    gateway = start_gateway(home, {"log.level": "info", **({"database.url": url} if url else {})})
    with log.only("info", stream), FakeUpstream(reply) as fake:
        gateway.add_credential("openai", fake.url)
        yield World(gateway, fake, stream, url)
        gateway.stop()


def routes(kept: requests.EndedRequest) -> list[tuple[str, str, str]]:
    return [(one["id"], one["v"], one.get("code", "")) for one in json.loads(kept.decision)["d"]]


# What is kept --------------------------------------------------------------------------------------


def test_a_refusal_of_routing_is_explained_like_any_request(world: World) -> None:
    hub, balance = world.gateway.hub, world.gateway.balance()
    preferences.change(hub, preferences.account(world.gateway.account_id), {"regions": ["eu"]})
    answer = world.ask(stream=True, session_id="one")
    assert (answer.status, answer.json()["error"]["code"]) == (403, "no_eligible_provider")
    kept = world.kept(answer)
    assert routes(kept) == [(f"openai/{MODEL}@global#1", "excluded", "region_not_allowed")]
    assert (kept.status, kept.error_code, kept.model, kept.streamed) == (403, "no_eligible_provider", MODEL, True)
    assert kept.session is not None
    assert world.gateway.rows("SELECT 1 AS one FROM requests") == world.gateway.rows("SELECT 1 AS one FROM holds") == []
    assert world.gateway.balance() == balance
    more = {"TOKENHUB_DATABASE_URL": world.url} if world.url else {}
    shown = run(hub.home.path, "requests", "show", kept.id, more=more)
    assert shown.code == 0, shown.err
    assert "no_eligible_provider" in shown.out
    assert "runs in no one region (global); allowed: eu" in shown.out
    listed = run(hub.home.path, "requests", "list", "--failed", "--account", "acme", "--json", more=more)
    assert [(one["id"], one["end"], one["charged_usd"]) for one in json.loads(listed.out)] == [
        (kept.id, "released", "0")
    ]
    told = world.gateway.call("GET", f"/v1/generation?id={kept.id}").json()["data"]
    assert (told["status"], told["error_code"], told["end"], told["total_cost"]) == (
        403,
        "no_eligible_provider",
        "released",
        0,
    )
    assert told["routing"] == json.loads(kept.decision)
    assert (told["model"], told["provider_name"], told["provider_responses"]) == (MODEL, None, [])


def test_every_refusal_that_routing_can_make_is_kept(world: World) -> None:
    deny = world.ask(provider={"data_collection": "deny"})
    assert routes(world.kept(deny))[0][1:] == ("excluded", "data_policy")
    long = world.gateway.chat(MODEL, "x" * 4_000_000, max_tokens=10)
    assert (long.status, long.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert routes(world.kept(long))[0][1:] == ("excluded", "context_too_short")
    credentials.set_status(world.gateway.hub, 1, "disabled")
    none = world.ask()
    assert (none.status, none.json()["error"]["code"]) == (503, "no_provider_available")
    assert (world.kept(none).status, routes(world.kept(none))) == (503, [])
    assert not world.fake.received


def test_a_refusal_of_the_hold_is_kept_with_the_route_that_it_had(world: World) -> None:
    hub = world.gateway.hub
    poor = accounts.create(hub, "poor").account.id
    secret = keys.create(hub, poor).secret
    body = {"model": MODEL, "messages": [{"role": "user", "content": CANARY}], "max_tokens": 10}
    headers = {"Authorization": f"Bearer {secret}", "x-tokenhub-explain": "1"}
    unpaid = world.gateway.call("POST", "/v1/chat/completions", body, headers)
    kept = world.kept(unpaid)
    assert (unpaid.status, kept.status, kept.error_code) == (402, 402, "insufficient_credits")
    assert routes(kept) == [(f"openai/{MODEL}@global#1", "try", "")]
    assert unpaid.headers["x-tokenhub-route"].endswith(f"try=openai/{MODEL}@global")
    accounts.change(hub, poor, {"key_rpm": 1})
    grants.grant(hub, poor, 10**9, expires_at_ms=None)
    assert world.gateway.call("POST", "/v1/chat/completions", body, headers).status in (200, 429)
    limited = world.gateway.call("POST", "/v1/chat/completions", body, headers)
    assert (limited.status, world.kept(limited).error_code) == (429, "rate_limit_exceeded")
    assert world.gateway.rows(f"SELECT held, open_holds FROM accounts WHERE id = {poor}") == [
        {"held": 0, "open_holds": 0}
    ]


def test_what_routing_did_not_refuse_leaves_nothing(world: World) -> None:
    hub = world.gateway.hub
    assert world.ask(model="no-such-model").status == 404
    assert world.ask(temperature="hot").status == 400
    key = keys.create(hub, world.gateway.account_id)
    keys.revoke(hub, key.state.key.id)
    headers = {"Authorization": f"Bearer {key.secret}"}
    assert world.gateway.call("POST", "/v1/chat/completions", {"model": MODEL, "messages": []}, headers).status == 401
    world.fake.script = lambda _: json_reply(openai_error("x"), 500)
    failed = world.ask()
    assert failed.status == 502
    (row,) = world.gateway.settled()
    assert row["id"] == failed.headers["x-request-id"]
    assert world.count() == 0


def test_a_plan_that_is_refused_when_it_is_made_again_leaves_one_row_with_its_own_reasons(world: World) -> None:
    """The gateway's snapshot is older than the boundary: the first plan is stale, the second finds nothing."""
    hub = world.gateway.hub
    for number in range(6):
        assert world.ask().status == 200
        preferences.change(hub, preferences.account(world.gateway.account_id), {"regions": [("eu", "us")[number % 2]]})
        refused = world.ask()
        assert refused.status == 403
        assert routes(world.kept(refused))[0][1:] == ("excluded", "region_not_allowed")
        preferences.reset(hub, preferences.account(world.gateway.account_id))
    assert len(world.gateway.settled(6)) == 6
    assert [one.status for one in requests.listing(hub, RequestFilter(), limit=50)] == [403, 200] * 6


def test_a_refusal_after_the_hold_gives_it_back_and_has_a_receipt(world: World) -> None:
    """What the plan named goes down while the hold waits to be written: nothing is tried, and nothing stays held."""
    gateway, refuse = world.gateway, threading.Event()
    gateway_runtime, database = gateway.gateway.runtime, gateway.hub.database

    def waits_then_refuses(_: Received) -> Reply:
        assert refuse.wait(20)
        return json_reply(openai_error("Rate limit reached", code="rate_limit_exceeded"), 429, {"retry-after": "30"})

    world.fake.script = waits_then_refuses
    before = gateway.balance()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(world.ask)
        until(lambda: len(world.fake.received) == 1)
        with database.write():
            database.row(f"SELECT id FROM accounts WHERE id = ?{database.lock_clause}", (gateway.account_id,))
            second = pool.submit(world.ask)
            until(lambda: sum(exchange.asked for exchange in list(gateway_runtime.exchanges.values())) == 2)
            refuse.set()
            until(lambda: bool(gateway_runtime.watch.view.cooldowns))
        assert second.result().status == 503
        first.result()
    assert len(world.fake.received) == 1
    rows = gateway.settled(2)
    assert [(row["end"], row["charged"]) for row in rows] == [("released", 0)] * 2
    assert second.result().headers["x-request-id"] in {row["id"] for row in rows}
    assert gateway.balance() == before
    assert world.count() == 0
    assert ledger.verify(gateway.hub) == []


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_refusals_are_in_no_report_and_the_books_add_up(world: World) -> None:
    hub = world.gateway.hub
    assert world.ask().status == 200
    world.gateway.settled()
    before = usage.report(hub, "model", since_ms=None)
    for _ in range(3):
        answer = world.ask(provider={"data_collection": "deny"})
    world.kept(answer)
    assert usage.report(hub, "model", since_ms=None) == before
    assert ledger.verify(hub) == []
    told = world.gateway.call("GET", "/v1/models/" + MODEL + "/endpoints").json()["data"]["endpoints"]
    assert told[0]["uptime_last_5m"] in (100, None)


def test_t44_another_account_is_not_told_of_a_refusal(world: World) -> None:
    kept = world.kept(world.ask(provider={"data_collection": "deny"}))
    other = keys.create(world.gateway.hub, accounts.create(world.gateway.hub, "other").account.id).secret
    found = world.gateway.call("GET", f"/v1/generation?id={kept.id}", headers={"Authorization": f"Bearer {other}"})
    assert found.status == 404


def test_t112_nothing_of_the_prompt_is_kept_of_a_refusal(world: World) -> None:
    kept = world.kept(world.ask(provider={"data_collection": "deny"}))
    (row,) = world.gateway.rows(f"SELECT * FROM refusals WHERE id = '{kept.id}'")
    assert CANARY not in str(row)
    assert world.events("not_routed")[0]["kept"] is True
    assert CANARY not in world.logged.getvalue()


def test_what_was_refused_last_is_written_before_the_gateway_ends(empty_settings: Settings, home: Home) -> None:
    url = empty_settings.database_url
    gateway = start_gateway(home, {"database.url": url} if url else {})
    refused = [gateway.chat("gpt-4o").headers["x-request-id"] for _ in range(5)]
    gateway.stop()
    opened = open_database(empty_settings, home)
    assert {request_id for (request_id,) in opened.rows("SELECT id FROM refusals")} == set(refused)
    opened.close()


# As many as do no harm -----------------------------------------------------------------------------


def test_t130_a_caller_who_is_refused_without_end_fills_nothing(world: World) -> None:
    deny = {"provider": {"data_collection": "deny"}}
    answers = [world.ask(**deny) for _ in range(5 * ACCOUNT_BURST)]
    assert {answer.status for answer in answers} == {403}
    assert ACCOUNT_BURST <= world.count() <= ACCOUNT_BURST + 3
    assert world.gateway.gateway is not None
    runtime = world.gateway.gateway.runtime
    assert runtime.refusals.kept + runtime.refusals.dropped == len(answers)
    told = world.events("not_routed")
    assert [one["kept"] for one in told].count(True) == runtime.refusals.kept
    assert len(told) == len(answers)
    assert len(world.events("refusals_not_kept")) == 1
    late = answers[-1].headers["x-request-id"]
    assert world.gateway.call("GET", f"/v1/generation?id={late}").status == 404
    other = accounts.create(world.gateway.hub, "other").account.id
    headers = {"Authorization": f"Bearer {keys.create(world.gateway.hub, other).secret}"}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    world.kept(world.gateway.call("POST", "/v1/chat/completions", body, headers))


class Later:
    """Takes writes as the writer does and does them when it is told to; ``refuses`` as one that closes does."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[Database], None], Future[None]]] = []
        self.refuses = False

    def run(self, write: Callable[[Database], None]) -> "Future[None]":
        if self.refuses:
            raise Unavailable("closing")
        future: Future[None] = Future()
        self.waiting.append((write, future))
        return future

    def work(self, database: Database) -> int:
        """Do what waits, each in a transaction, and return in how many."""
        waiting, self.waiting = self.waiting, []
        for write, future in waiting:
            with database.write():
                write(database)
            future.set_result(None)
        return len(waiting)


def made(number: int) -> RefusedRequest:
    return RefusedRequest(
        f"req_{number:04}", 1, "k", 0, 0, "chat", MODEL, False, 403, "no_eligible_provider", 1, "{}", None
    )


def test_t130_a_bucket_for_each_account_and_one_for_all() -> None:
    now = [1_000.0]
    bound = Refusals(Later(), lambda: now[0])
    assert [bound.has_room(1) for _ in range(3 * ACCOUNT_BURST)].count(True) == ACCOUNT_BURST
    now[0] += ACCOUNT_EVERY_S - 0.01
    assert not bound.has_room(1)
    now[0] += 0.02
    assert [bound.has_room(1) for _ in range(3)] == [True, False, False]
    now[0] += ACCOUNT_BURST * ACCOUNT_EVERY_S
    assert [bound.has_room(1) for _ in range(3 * ACCOUNT_BURST)].count(True) == ACCOUNT_BURST
    now[0] += ALL_BURST * ALL_EVERY_S
    assert [bound.has_room(number) for number in range(10, 10 + 3 * ALL_BURST)].count(True) == ALL_BURST
    now[0] += 10 * ALL_EVERY_S
    assert [bound.has_room(number) for number in range(1_000, 1_000 + ALL_BURST)].count(True) == 10


def test_t130_accounts_that_came_once_are_forgotten() -> None:
    now = [0.0]
    bound = Refusals(Later(), lambda: now[0])
    for number in range(50 * ALL_BURST):
        now[0] += 2 * ALL_EVERY_S
        assert bound.has_room(number)
    assert len(bound._accounts_full_s) <= 2 * ALL_BURST


def test_refusals_that_come_together_are_one_write(database: Database) -> None:
    later = Later()
    bound = Refusals(later)
    for number in range(7):
        bound.keep(made(number))
    assert later.work(database) == 1
    bound.keep(made(7))
    assert later.work(database) == 1
    assert database.row("SELECT COUNT(*) FROM refusals") == (8,)


def test_a_write_that_is_done_again_loses_nothing(database: Database) -> None:
    later = Later()
    bound = Refusals(later)
    bound.keep(made(1))
    ((write, future),) = later.waiting

    def undone() -> None:
        with database.write():
            write(database)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    bound.keep(made(2))
    assert later.work(database) == 2
    assert future.done()
    assert database.rows("SELECT id FROM refusals ORDER BY id") == [("req_0001",), ("req_0002",)]


def test_a_write_that_is_never_done_costs_what_waited_for_it_alone(database: Database) -> None:
    later = Later()
    bound = Refusals(later)
    bound.keep(made(1))
    ((_, future),) = later.waiting
    later.waiting.clear()
    future.set_exception(Unavailable("the database is away"))
    bound.keep(made(2))
    assert later.work(database) == 1
    assert database.rows("SELECT id FROM refusals") == [("req_0002",)]


def test_a_writer_that_takes_no_more_costs_the_refusal_and_nothing_else(database: Database) -> None:
    later = Later()
    bound = Refusals(later)
    later.refuses = True
    assert bound.has_room(1)
    bound.keep(made(1))
    assert (bound.kept, bound.dropped) == (0, 1)
    later.refuses = False
    bound.keep(made(2))
    assert later.work(database) == 1
    assert database.rows("SELECT id FROM refusals") == [("req_0002",)]
