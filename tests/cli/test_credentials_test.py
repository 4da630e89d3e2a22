"""``tokenhub credentials test``: every credential is tried, whatever the ones before it have shown."""

import json

from tests.cli.program import run
from tests.conftest import process_environment
from tests.fakes.upstream import FakeUpstream, json_reply, openai_error
from tokenhub.operations import credentials, preferences
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.operations.preferences import Subject

SECRET = "sk-canary-0123456789-abcdefghij"


def test_a_credential_with_nothing_to_ask_does_not_end_the_round(hub: Hub) -> None:
    with FakeUpstream(lambda _: json_reply({"object": "list", "data": []})) as upstream:
        credentials.add(hub, NewCredential("cohere", SECRET, base_url=upstream.url))
        credentials.add(hub, NewCredential("openai", SECRET, base_url=upstream.url))
        preferences.change(hub, Subject(), {"deny_providers": ["cohere"]})
        environment = process_environment(hub.settings, hub.home)
        shown = run(None, "credentials", "test", more=environment)
        assert shown.code == 0
        rows = [line.split() for line in shown.out.splitlines()]
        assert next(row for row in rows if row[0] == "2")[1:4] == ["yes", "models", "200"]
        assert "Credential 1: Cohere has no priced model to ask something short inside" in shown.err
        found = json.loads(run(None, "credentials", "test", "--json", more=environment).out)
        assert [(row["id"], row["ok"]) for row in found] == [(1, None), (2, True)]
        # Asked for by its number, it is an error that there is nothing to ask.
        assert run(None, "credentials", "test", "1", more=environment).code != 0


def test_one_that_is_refused_is_a_failure_and_the_others_are_tried(hub: Hub) -> None:
    refusal = json_reply(openai_error("no", code="invalid_api_key"), status=401)
    with FakeUpstream([refusal, json_reply({"object": "list", "data": []})]) as upstream:
        for number in range(2):
            credentials.add(hub, NewCredential("openai", f"{SECRET}{number}", base_url=upstream.url))
        shown = run(None, "credentials", "test", "--json", more=process_environment(hub.settings, hub.home))
    assert shown.code == 1
    assert [row["ok"] for row in json.loads(shown.out)] == [False, True]
