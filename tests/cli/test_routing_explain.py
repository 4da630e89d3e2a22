"""``tokenhub routing explain`` and what other commands show of a decision, beside a running gateway."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Ended, data, run
from tests.fakes.upstream import FakeUpstream, Received, Reply, json_reply, openai_chat, openai_error, openai_usage
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.operations import accounts, credentials, keys
from tokenhub.routing.circuit import Circuit, State
from tokenhub.store import circuits

MODEL = "gpt-4o"
EU, US, US_TOO, WORLD = (f"openai/{MODEL}@{place}" for place in ("eu#1", "us#2", "us#3", "global#4"))


def answer(request: Received) -> Reply:
    if "x-break" in request.body.decode():
        return json_reply(openai_error("x"), 500)
    return json_reply(openai_chat("Yes.", usage=openai_usage()))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """OpenAI in four places; the account is kept to the EU and the US, and one deployment is down for an hour."""
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("explain")))
    with FakeUpstream(answer) as fake:
        for region in ("eu", "us", "us", "global"):
            gateway.add_credential("openai", fake.url, region=region)
        home = gateway.hub.home.path
        for words in (["--regions", "eu,us", "--account", "acme"], ["--max-attempts", "2", "--plan", "starter"]):
            assert run(home, "routing", "set", *words).code == 0
        now_ms = clock.now_ms()
        with gateway.hub.database.write():
            down = Circuit(State.OPEN, 5, 3_600_000, now_ms + 3_600_000, 0, "timeout", now_ms)
            circuits.put(gateway.hub.database, US_TOO, down)
        yield gateway
        gateway.stop()


def explain(served: RunningGateway, *words: str, stdin: str | None = None) -> Ended:
    return run(served.hub.home.path, "routing", "explain", *words, stdin=stdin)


def explained(served: RunningGateway, *words: str) -> Any:
    return data(served.hub.home.path, "routing", "explain", *words)


def test_each_stage_says_what_left_it_and_why_and_where_that_is_set(served: RunningGateway) -> None:
    ended = explain(served, MODEL, "--session", "one")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "gpt-4o for account acme on plan starter, as a key without restrictions of its own"
    stages = [line for line in lines if line[:1].isdigit()]
    assert stages[0] == "1 Names: 4 deployments behind your credentials."
    assert stages[1].endswith("account acme (regions eu, us). 1 of 4 left out.")
    assert stages[2] == "3 Availability: 1 of 3 out at present."
    assert stages[3].startswith("4 Order: By session")
    assert stages[3].endswith("The session has a name.")
    assert stages[4].endswith("at most 2 attempts, as set on the plan.")
    outside = next(line for line in lines if line.startswith(WORLD))
    assert outside.split("  ")[-1] == "account acme"
    assert "region not allowed" in outside
    assert "runs in no one region (global); allowed: eu, us" in outside
    away = next(line for line in lines if line.startswith(US_TOO))
    assert "circuit open" in away
    assert "until 20" in away
    assert f"{stages[4].split(':')[1].split(',')[0].strip()}" in (EU, US)
    assert [line.split("  ")[0] for line in lines if "tried " in line] == ["tried 1st", "tried 2nd"]


def test_json_holds_the_same_and_the_record_that_a_request_would_keep(served: RunningGateway) -> None:
    shown = explained(served, MODEL, "--session", "one")
    assert sorted(shown["would_try"]) == [EU, US]
    states = {one["deployment"]: (one["state"], one["set_on"]) for one in shown["deployments"]}
    assert states[WORLD] == ("excluded", "account acme")
    assert states[US_TOO] == ("unavailable", None)
    assert sum(one["share_bp"] or 0 for one in shown["deployments"]) == 10_000
    assert shown["boundaries"] == [
        {"scope": "plan", "subject": "starter", "set": {"max_attempts": 2}},
        {"scope": "account", "subject": "acme", "set": {"regions": ["eu", "us"]}},
    ]
    assert (shown["refusal"], shown["session"]) == (None, {"from": "name", "in_tool_loop": False})
    reply = served.call("POST", "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "session_id": "one"})  # fmt: skip
    kept = data(served.hub.home.path, "requests", "show", reply.headers["x-request-id"])["decision"]
    assert kept == shown["decision"]


def test_the_data_policy_is_shown_where_one_is_asked_for(served: RunningGateway) -> None:
    home = served.hub.home.path
    assert "Data policy" not in explain(served, MODEL).out
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "provider": {"data_collection": "deny"}})
    refused = explain(served, MODEL, "--body", "-", stdin=body)
    assert refused.code == 1
    assert "openai has stated nothing of where it is called; asked for: no_retention" in refused.out
    assert run(home, "credentials", "set", "2", "--data-policy", "no_retention").code == 0
    try:
        (line,) = [
            one for one in explain(served, MODEL, "--body", "-", stdin=body).out.splitlines() if "tried 1st" in one
        ]
        assert line.split()[-2:] == ["no_retention", "operator"]
        shown = {one["deployment"]: one for one in explained(served, MODEL)["deployments"]}
        assert (shown[US]["data_policy"], shown[US]["data_policy_by"]) == ("no_retention", "operator")
        assert (shown[EU]["data_policy"], shown[EU]["data_policy_by"]) == ("unknown", "nobody")
        stated = {one["id"]: one["data_policies"] for one in data(home, "providers", "list")}
        assert stated["moonshot"]["intl"]["source"].startswith("https://")
        policies = {place: at["policy"] for place, at in (stated["moonshot"] | {"eu": stated["openai"]["eu"]}).items()}
        assert policies == {"intl": "no_training", "cn": "unknown", "eu": "no_training"}
    finally:
        assert run(home, "credentials", "set", "2", "--data-policy", "stated").code == 0


def test_the_same_session_is_explained_alike_and_sessions_differ(served: RunningGateway) -> None:
    first = explained(served, MODEL, "--session", "0")["would_try"][0]
    seen = {first}
    for number in range(1, 100):  # the draw is another in each installation: so many alike would be one in 10^12
        seen.add(explained(served, MODEL, "--session", str(number))["would_try"][0])
        if seen >= {EU, US}:
            break
    assert seen >= {EU, US}
    assert explained(served, MODEL, "--session", "0")["would_try"][0] == first


def test_a_body_is_read_as_the_gateway_reads_it(served: RunningGateway, tmp_path: Path) -> None:
    body = {"model": "ignored", "messages": [{"role": "user", "content": "x"}], "provider": {"ignore": ["openai@us"]}}
    file = tmp_path / "body.json"
    file.write_text(json.dumps(body))
    shown = explained(served, MODEL, "--body", str(file))
    assert shown["would_try"] == [EU]
    excluded = [one for one in shown["deployments"] if one["set_on"] == "request"]
    assert [one["deployment"] for one in excluded] == [US, US_TOO]
    assert "request" in explain(served, MODEL, "--body", "-", stdin=json.dumps(body)).out
    ended = explain(served, MODEL, "--body", "-", stdin='{"messages": 7}')
    assert ended.code == 1
    assert "The client is told 400 invalid_request_error" in ended.out


def test_a_refusal_is_explained_with_what_lies_inside_and_ends_with_code_1(served: RunningGateway) -> None:
    accounts.create(served.hub, "eu-only")
    home = served.hub.home.path
    assert run(home, "routing", "set", "--regions", "jp", "--account", "eu-only").code == 0
    ended = explain(served, MODEL, "--account", "eu-only")
    assert ended.code == 1
    assert "4 of 4 left out" in ended.out
    assert "5 Tried: nothing. The client is told 403 no_eligible_provider" in ended.out
    shown = run(home, "routing", "explain", MODEL, "--account", "eu-only", "--json")
    assert shown.code == 1
    refusal = json.loads(shown.out)["refusal"]
    assert (refusal["status"], refusal["code"]) == (403, "no_eligible_provider")


def test_a_keys_own_restrictions_are_explained(served: RunningGateway) -> None:
    made = keys.create(served.hub, served.account_id, keys.KeyTerms(name="only eu", models=("openai/gpt-4o@eu",)))
    shown = explained(served, MODEL, "--key", made.state.key.id)
    assert shown["would_try"] == [EU]
    assert {one["set_on"] for one in shown["deployments"] if one["rule"] == "not a model of this key"} == {"this key"}
    assert "(only eu) of account acme" in explain(served, MODEL, "--key", made.state.key.id).out
    keys.revoke(served.hub, made.state.key.id)
    ended = explain(served, MODEL, "--key", made.state.key.id)
    assert ended.code == 1
    assert "401 authentication_error" in ended.out


def test_a_name_that_means_nothing_is_answered_with_those_like_it(served: RunningGateway) -> None:
    ended = explain(served, "gpt-4oo", "--account", "acme")
    assert ended.code == 1
    assert "Did you mean gpt-4o" in ended.err


def test_the_commands_and_the_receipt_show_a_request_its_decision(served: RunningGateway) -> None:
    reply = served.chat(MODEL, "x-break")
    assert reply.status == 502
    id = reply.headers["x-request-id"]
    served.settled(0)
    ended = run(served.hub.home.path, "requests", "show", id, "--follow")
    assert "Routing: ordered by session" in ended.out
    assert "at most 2 attempts, as set on the plan" in ended.out
    rows = [line for line in ended.out.splitlines() if line.startswith("openai/")]
    assert [line.split("  ")[0].strip() for line in rows[-2:]] == [US_TOO, WORLD]
    assert "account acme" in rows[-1]
    receipt = served.call("GET", f"/v1/generation?id={id}").json()["data"]
    assert [one["id"] for one in receipt["routing"]["d"] if one["v"] == "try"] == [
        one["deployment"] for one in receipt["provider_responses"]
    ]


def test_a_request_shows_as_tried_only_what_it_tried(served: RunningGateway) -> None:
    reply = served.chat(MODEL, "fine")
    assert reply.status == 200
    served.settled(0)
    shown = run(served.hub.home.path, "requests", "show", reply.headers["x-request-id"], "--follow").out
    assert "tried 1st" in shown
    assert "tried 2nd" not in shown
    assert "planned 2nd, not tried" in shown
    lines = dict(line.split("  ", 1) for line in shown.splitlines() if "  " in line)
    assert (lines["Capability"].strip(), lines["Asked for"].strip()) == ("chat", MODEL)


def test_the_header_tells_the_route_only_to_who_asks(served: RunningGateway) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    asks = {"Authorization": f"Bearer {served.key}", "x-tokenhub-explain": "1"}
    for stream in (False, True):
        told = served.call("POST", "/v1/chat/completions", {**body, "stream": stream}, asks).headers["x-tokenhub-route"]
        parts = dict(part.split("=", 1) for part in told.split("; "))
        assert parts["by"] == "session"
        assert parts["max"] == "2"
        assert parts["because"] == "plan"
        assert sorted(parts["try"].split(",")) == ["openai/gpt-4o@eu", "openai/gpt-4o@us"]
        assert parts["unavailable"] == "openai/gpt-4o@us:circuit_open"
        assert parts["excluded"] == "openai/gpt-4o@global:region_not_allowed"
    for other in ({}, {"x-tokenhub-explain": "0"}):
        quiet = served.call("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {served.key}", **other})
        assert "x-tokenhub-route" not in quiet.headers
    refused = served.call("POST", "/v1/chat/completions", {**body, "provider": {"only": ["anthropic"]}}, asks)
    assert refused.status == 403
    assert "openai/gpt-4o@eu:provider_not_allowed" in refused.headers["x-tokenhub-route"]


def test_t104_a_403_names_models_inside_the_boundary_that_this_key_may_call(served: RunningGateway) -> None:
    with FakeUpstream(answer) as fake:
        id = served.add_credential("anthropic", fake.url.removesuffix("/v1"), region="us")
        try:
            asks = {
                "model": MODEL,
                "messages": [{"role": "user", "content": "Hi"}],
                "provider": {"only": ["anthropic"]},
            }
            error = served.call("POST", "/v1/chat/completions", asks).json()["error"]
            assert error["code"] == "no_eligible_provider"
            suggested = error["metadata"]["suggestions"]
            assert suggested
            assert all(one.startswith("claude-") for one in suggested)
            assert served.call("POST", "/v1/chat/completions", {**asks, "model": suggested[0]}).status != 403
        finally:
            credentials.remove(served.hub, id)
