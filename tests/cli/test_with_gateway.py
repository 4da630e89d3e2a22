"""Commands beside a running gateway: chat through it, reports of what it served, a first run."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import DEADLINE_S, data, run, surroundings
from tests.fakes.upstream import (
    FakeUpstream,
    json_reply,
    openai_chunk,
    openai_error,
    openai_stream,
    openai_usage,
    sse_reply,
)
from tests.forked import Forked, Piped, program
from tests.harness import RunningGateway, start_gateway, temporary_home

MODEL = "gpt-4o-mini"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, FakeUpstream]]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("served")))
    with FakeUpstream([]) as upstream:
        gateway.add_credential("openai", upstream.url)
        yield gateway, upstream
        gateway.stop()


def ask(gateway: RunningGateway, *arguments: str, key: str | None = None, stdin: str | None = None):  # type: ignore[no-untyped-def]
    return run(
        gateway.hub.home.path, "chat", *arguments, "--address", f"127.0.0.1:{gateway.port}", stdin=stdin,
        more={"TOKENHUB_API_KEY": key or gateway.key},
    )  # fmt: skip


def answer(text: str) -> object:
    return sse_reply(openai_stream(text, usage=openai_usage(1000, 500)))


def test_chat_shows_the_answer_and_what_it_cost(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    upstream.add(answer("Blue is\nscattered."))
    ended = ask(gateway, "Why is the sky blue?", "--model", MODEL)
    assert (ended.code, ended.out) == (0, "Blue is\nscattered.\n")
    # 1000 x 0.15 + 500 x 0.60 USD per million = 0.00045; 3 % of it = 0.0000135.
    assert ended.err == f"[{MODEL}: 1000 + 500 tokens, 0.0004635 USD]\n" or ended.err.endswith(
        "1000 + 500 tokens, 0.0004635 USD]\n"
    )


def test_t120_chat_shows_an_answer_that_moves_the_cursor_as_text(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    upstream.add(answer("a\x1b[2Jb\r"))
    assert ask(gateway, "hi", "--model", MODEL).out == "a\\x1b[2Jb\\x0d\n"


def test_chat_gives_json_and_takes_stdin_and_chooses_the_cheapest_model(
    served: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, upstream = served
    upstream.add(answer("Fine."))
    ended = ask(gateway, "Review this:", "--stdin", "--json", "--max-tokens", "77", stdin="the text")
    assert ended.code == 0, ended.err
    shown = json.loads(ended.out)
    assert shown["text"] == "Fine."
    assert shown["usage"]["prompt_tokens"] == 1000
    body = json.loads(upstream.received[-1].body)
    assert body["messages"] == [{"role": "user", "content": "Review this:\n\nthe text"}]
    assert 77 in (body.get("max_tokens"), body.get("max_completion_tokens"))


def test_chat_says_what_the_gateway_refuses(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    wrong = ask(gateway, "hi", "--model", MODEL, key="th-" + "a" * 43)
    assert wrong.code == 1
    assert wrong.err.startswith("error: The API key is missing or not valid.")
    assert ask(gateway, "hi", "--model", "no-such-model").code == 1
    upstream.add(json_reply(openai_error("boom", code="server_error"), status=500))
    failed = ask(gateway, "hi", "--model", MODEL)
    assert failed.code == 1
    assert "(upstream_error)" in failed.err


def test_chat_takes_an_address_as_serve_prints_it(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    key = {"TOKENHUB_API_KEY": gateway.key}
    upstream.add(answer("Yes."))
    asked = ("chat", "hi", "--model", MODEL, "--address")
    assert run(gateway.hub.home.path, *asked, f"http://127.0.0.1:{gateway.port}/", more=key).out == "Yes.\n"
    for wrong in ("http://127.0.0.1", f"https://127.0.0.1:{gateway.port}", "http://:80", "a/b:80"):
        assert "HOST:PORT" in run(gateway.hub.home.path, *asked, wrong, more=key).err


def test_chat_asks_nothing_when_there_is_nothing_to_ask(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    before = len(upstream.received)
    assert ask(gateway, " \n").code == 2
    assert ask(gateway, "", "--stdin", stdin=" ").code == 2
    assert len(upstream.received) == before


def test_chat_speaks_of_commands_and_not_of_http(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    unknown = ask(gateway, "hi", "--model", "no-such-model").err
    assert "tokenhub models list shows" in unknown
    assert "requests show" not in unknown
    upstream.add(json_reply(openai_error("boom", code="server_error"), status=500))
    failed = ask(gateway, "hi", "--model", MODEL).err
    shown = re.search(r"See: tokenhub requests show (req_[0-9a-f]{32})\n$", failed)
    assert shown, failed
    home = gateway.hub.home.path
    gateway.settled()
    assert run(home, "requests", "show", shown[1]).code == 0
    try:
        assert run(home, "routing", "set", "--max-price", "0.00001/0.00001").code == 0
        refused = ask(gateway, "hi", "--model", MODEL).err
    finally:
        assert run(home, "routing", "reset", "--yes").code == 0
    assert "metadata" not in refused
    assert re.search(r"tokenhub requests show req_[0-9a-f]{32} has each one's reason", refused), refused


def test_chat_says_how_much_credit_is_wanting_and_by_which_option_less_will_do(tmp_path: Path) -> None:
    gateway = start_gateway(temporary_home(tmp_path), credit_nano=10**6)
    try:
        with FakeUpstream([answer("Yes.")]) as upstream:
            gateway.add_credential("openai", upstream.url)
            refused = ask(gateway, "hi", "--model", MODEL, "--max-tokens", "16000").err
            assert re.match(
                r"error: The balance does not cover this request; top up, or give a smaller --max-tokens\. "
                r"It needs up to 0\.0\d+ USD, and 0\.001 USD are left\. \(insufficient_credits\) See: tokenhub requests show req_\w+\n$",
                refused,
            ), refused
            assert ask(gateway, "hi", "--model", MODEL, "--max-tokens", "100").code == 0
    finally:
        gateway.stop()


def test_chat_without_a_model_names_the_rules_that_may_leave_all_out(
    served: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, _ = served
    home = gateway.hub.home.path
    try:
        assert run(home, "routing", "set", "--account", "acme", "--regions", "eu").code == 0
        refused = ask(gateway, "hi")
        assert (refused.code, "credentials add PROVIDER" in refused.err) == (2, True)
        shown = re.search(r"rules leave all out: tokenhub (routing show --key \S+)\n$", refused.err)
        assert shown, refused.err
        assert "eu" in run(home, *shown[1].split()).out
    finally:
        assert run(home, "routing", "reset", "--account", "acme", "--yes").code == 0


def test_a_request_is_found_by_an_unmistakable_beginning_of_its_id(
    served: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, upstream = served
    home = gateway.hub.home.path
    for _ in range(2):
        upstream.add(answer("Yes."))
        assert ask(gateway, "hi", "--model", MODEL).code == 0
    gateway.settled()
    newest, older = (one["id"] for one in data(home, "requests", "list", "--limit", "2"))
    for id in (newest, older):
        assert data(home, "requests", "show", id[:25])["id"] == id
    several = run(home, "requests", "show", "req_0")
    assert several.code == 1
    assert "More than one request begins with 'req_0'" in several.err
    assert run(home, "requests", "show", "req_f").code == 1
    assert run(home, "requests", "show", "req_%").code == 1


def test_requests_are_listed_by_any_name_of_their_model(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    home = gateway.hub.home.path
    upstream.add(answer("Yes."))
    assert ask(gateway, "hi", "--model", f"openai/{MODEL}").code == 0
    gateway.settled()
    newest = data(home, "requests", "list", "--limit", "1")[0]
    assert newest["asked_model"] == f"openai/{MODEL}"
    assert data(home, "requests", "list", "--limit", "1", "--model", f"openai/{MODEL}") == [newest]
    wrong = run(home, "requests", "list", "--model", "gpt-4o-minni")
    assert wrong.code == 1
    assert f"Did you mean {MODEL}" in wrong.err


def test_chat_says_that_an_answer_broke_off(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    upstream.add(sse_reply([openai_chunk({"content": "Half an ans"})]))
    ended = ask(gateway, "hi", "--model", MODEL)
    assert ended.code == 1
    assert ended.out == "Half an ans\n"
    assert ended.err.startswith("error: ")


@pytest.mark.parametrize(
    ("asked", "reply", "said"),
    [
        ((), json_reply({"object": "list", "data": [{"id": "llama", "object": "model"}]}), "is no TokenHub gateway"),
        ((), json_reply(["llama"]), "is no TokenHub gateway"),
        ((), json_reply({"error": "no such page"}, status=404), "HTTP 404"),
        (("--model", "llama"), json_reply({"choices": []}), "is no TokenHub gateway"),
    ],
)
def test_chat_says_that_another_server_has_the_address(
    tmp_path: Path, asked: tuple[str, ...], reply: object, said: str
) -> None:
    with FakeUpstream([reply]) as stranger:  # type: ignore[list-item]
        place = stranger.url.removeprefix("http://").partition("/")[0]
        ended = run(tmp_path, "chat", "hi", *asked, "--address", place, more={"TOKENHUB_API_KEY": "th-" + "a" * 43})
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert "Internal error" not in ended.err


def test_chat_says_that_no_gateway_runs(tmp_path: Path) -> None:
    run(tmp_path / "home", "init")
    ended = run(
        tmp_path / "home", "chat", "hi", "--address", "127.0.0.1:1", more={"TOKENHUB_API_KEY": "th-" + "a" * 43}
    )
    assert ended.code == 1
    assert (
        ended.err
        == "error: No gateway answers on 127.0.0.1:1 (Connection refused). Start it: tokenhub serve; or name another: --address HOST:PORT\n"
    )


def test_reports_show_what_was_served(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    home = gateway.hub.home.path
    upstream.add(answer("Seen."))
    assert ask(gateway, "hi", "--model", MODEL).code == 0
    gateway.settled()
    newest = data(home, "requests", "list", "--limit", "1")[0]
    assert (newest["account"], newest["model"], newest["provider"], newest["end"]) == (
        "acme",
        MODEL,
        "openai",
        "settled",
    )
    assert (newest["prompt_tokens"], newest["output_tokens"], newest["charged_usd"]) == (1000, 500, "0.0004635")
    shown = run(home, "requests", "show", newest["id"])
    assert f"Request                 {newest['id']}\n" in shown.out
    assert "$0.0004635" in shown.out
    for by, group in (("model", MODEL), ("provider", "openai"), ("account", "1"), ("key", newest["key"])):
        report = data(home, "usage", "--by", by)
        line = next(line for line in report["lines"] if line[by] == group)
        assert 1 <= line["charged_requests"] <= report["total"]["charged_requests"]
        assert sum(line["charged_requests"] for line in report["lines"]) == report["total"]["charged_requests"]
    table = run(home, "usage", "--by", "day")
    assert table.out.splitlines()[-1].startswith("total")
    csv = run(home, "usage", "--by", "account", "--csv").out.splitlines()
    assert csv[1].startswith("1,acme,")
    assert run(home, "ledger", "verify").code == 0


def test_a_followed_list_shows_requests_as_they_end(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    upstream.add(answer("Old."))
    assert ask(gateway, "hi", "--model", MODEL).code == 0
    followed = ("requests", "list", "--follow", "--json", "--limit", "1")
    with Piped(program, *followed, environment=surroundings(gateway.hub.home.path)) as process:
        before = json.loads(process.stdout.readline())["id"]
        upstream.add(answer("New."))
        assert ask(gateway, "hi", "--model", MODEL).code == 0
        shown = json.loads(process.stdout.readline())
        assert shown["id"] > before
        assert shown["charged_usd"] == "0.0004635"
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE_S)


def test_a_management_command_binds_a_running_gateway_at_once(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    home = gateway.hub.home.path
    made = data(home, "keys", "create")
    upstream.add(answer("Yes."))
    assert ask(gateway, "hi", "--model", MODEL, key=made["key"]).code == 0
    assert run(home, "keys", "revoke", made["id"], "--yes").code == 0
    assert "not valid" in ask(gateway, "hi", "--model", MODEL, key=made["key"]).err
    assert run(home, "accounts", "disable", "acme").code == 0
    assert "(account_disabled)" in ask(gateway, "hi", "--model", MODEL).err
    assert run(home, "accounts", "enable", "acme").code == 0


class Serving:
    """``tokenhub serve`` in the default home of a person of its own."""

    def __init__(self, person: Path, *arguments: str, more: dict[str, str] | None = None) -> None:
        own = {"HOME": str(person), "XDG_DATA_HOME": str(person / "data"), "TOKENHUB_LOG_LEVEL": "error"}
        self._messages, self._printed = person / "messages", person / "printed"
        with (
            Path(os.devnull).open("rb") as nothing,
            self._printed.open("wb") as printed,
            self._messages.open("wb") as messages,
        ):
            self.process = Forked(
                program,
                *("serve", *(arguments or ("--port", "0")), "--no-local"),
                environment=surroundings(None, {**own, **(more or {})}),
                stdin=nothing.fileno(),
                stdout=printed.fileno(),
                stderr=messages.fileno(),
            )

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    @property
    def said(self) -> str:
        return self._messages.read_text(encoding="utf-8")

    def wait_for(self, pattern: str) -> None:
        """Wait until a message matches."""
        deadline = time.monotonic() + DEADLINE_S
        while not re.search(pattern, self.said):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def stop(self) -> tuple[int, str]:
        """Ask it to end; return its exit code and all it wrote to stdout."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and all it wrote to stdout."""
        return self.process.wait(DEADLINE_S), self._printed.read_text(encoding="utf-8")


def test_t129_the_first_run_makes_a_key_and_shows_it_once(tmp_path: Path) -> None:
    with Serving(tmp_path, more={"OPENAI_API_KEY": "sk-aaaabbbbccccddddeeeeffff"}) as serving:
        serving.wait_for(r"TokenHub serves on http://127\.0\.0\.1:[1-9]\d*\n")
        serving.wait_for("OPENAI_API_KEY is in the environment and not used")
        code, out = serving.stop()
    assert code == 0
    assert re.fullmatch(r"export TOKENHUB_API_KEY=th-[0-9A-Za-z]{43}\n", out), out
    assert "No model can be called yet. Add a provider's key: tokenhub credentials add openai\n" in serving.said
    home = tmp_path / "data" / "tokenhub"
    assert [one["name"] for one in data(home, "accounts", "list")] == ["default"]
    assert data(home, "credentials", "list") == []
    with Serving(tmp_path) as again:
        again.wait_for("TokenHub serves on")
        assert again.stop() == (0, "")
    assert len(data(home, "keys", "list")) == 1


def test_a_run_without_the_local_model_says_which_providers_there_are_and_how_to_add_one(tmp_path: Path) -> None:
    home = tmp_path / "data" / "tokenhub"
    with Serving(tmp_path) as first:
        first.wait_for("TokenHub serves on")
        first.stop()
    for provider in ("openai", "anthropic"):
        added = run(home, "credentials", "add", provider, "--secret-stdin", stdin=f"sk-{provider}-0123456789abcdef")
        assert added.code == 0, added.err
    assert run(home, "credentials", "disable", "2").code == 0
    with Serving(tmp_path) as again:
        again.wait_for("Another provider: tokenhub credentials add PROVIDER\n")
        assert "Requests can go to: openai. Another" in again.said
        assert again.stop() == (0, "")


def test_an_installation_without_an_account_is_told_how_to_make_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert run(home, "init").code == 0
    with Serving(tmp_path, more={"TOKENHUB_HOME": str(home)}) as serving:
        serving.wait_for(r"There is no account yet\. Create one: tokenhub accounts create NAME; tokenhub keys create\n")
        assert serving.stop() == (0, "")


@pytest.mark.parametrize(
    ("left", "remedy"),
    [
        (("config.toml",), "tokenhub init"),
        (("config.toml", "tokenhub.db"), "no master key"),
        (("config.toml", "master.key"), "no database"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_t91_a_default_home_that_lacks_a_part_is_refused_and_left_as_it_is(
    tmp_path: Path, left: tuple[str, ...], remedy: str
) -> None:
    home = tmp_path / "data" / "tokenhub"
    assert run(home, "init").code == 0
    for file in home.iterdir():
        if file.is_file() and file.name not in left:
            file.unlink()
    before = sorted(file.name for file in home.iterdir())
    with Serving(tmp_path) as refused:
        assert refused.end() == (1, "")
        assert remedy in refused.said
    assert sorted(file.name for file in home.iterdir()) == before


def test_a_first_run_that_could_not_serve_leaves_the_key_for_the_next(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with Serving(tmp_path, "--port", port) as serving:
            assert serving.end() == (1, "")
            assert f"Cannot listen on 127.0.0.1:{port}" in serving.said
    with Serving(tmp_path) as again:
        again.wait_for("Its first key")
        assert re.fullmatch(r"export TOKENHUB_API_KEY=th-[0-9A-Za-z]{43}\n", again.stop()[1])


def test_t91_serve_makes_no_home_where_one_was_named(tmp_path: Path) -> None:
    ended = run(tmp_path / "typo", "serve", "--port", "0", "--no-local")
    assert ended.code == 1
    assert "tokenhub init" in ended.err
    assert not (tmp_path / "typo").exists()
