"""An installation with credit that is served by processes of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import process_environment, store_settings
from tests.fakes.upstream import (
    FakeUpstream,
    Pause,
    Received,
    Reply,
    WaitForClientClose,
    json_reply,
    openai_chat,
    openai_stream,
    openai_usage,
    sse_reply,
)
from tests.serving import Serving
from tokenhub.operations import accounts, credentials, grants, keys
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home

MODEL = "gpt-4o-mini"
USAGE = openai_usage(1000, 100)
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}


def script(request: Received) -> Reply:
    """Streams that wait after their first words, or are slow but end, as their prompt says; plain replies at once."""
    said = request.json()["messages"][0]["content"]
    if not request.json().get("stream"):
        return json_reply(openai_chat("Fine.", usage=USAGE))
    frames = openai_stream(["One ", "two"], usage=USAGE)
    if said == "endless":
        return sse_reply([*frames[:2], WaitForClientClose()])
    return sse_reply([*frames[:2], Pause(0.7), *frames[2:]])


class Site:
    """An installation with credit, and how to serve from it."""

    def __init__(self, folder: Path, upstream: FakeUpstream) -> None:
        self.home = Home(folder / "home", explicit=True)
        self.hub = Hub.init(self.home, {"local.enabled": False})
        account = accounts.create(self.hub, "acme").account.id
        accounts.change(self.hub, account, {"key_rpm": 100_000, "account_rpm": 100_000, "concurrency": 1000})
        grants.grant(self.hub, account, 10**11, expires_at_ms=None)
        self.key = keys.create(self.hub, account).secret
        credentials.add(
            self.hub,
            credentials.NewCredential(provider="openai", secret="sk-upstream-000001", base_url=upstream.url),
        )
        self.log = folder / "log"

    def serve(self, **settings: object) -> Serving:
        more = {f"TOKENHUB_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**process_environment(store_settings(), self.home), **more}
        return Serving(environment, self.log, key=self.key)

    def rows(self, sql: str) -> list[tuple]:
        return self.hub.database.rows(sql)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with FakeUpstream(script) as upstream:
        made = Site(tmp_path, upstream)
        yield made
        made.hub.close()
