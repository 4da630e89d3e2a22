"""Boundaries hold on every path that is routed: what lies outside is not asked, nor the next attempt once it has come to lie there (T103, T108)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.fakes import every_surface
from tests.fakes.every_surface import MODEL, PATHS, request_for
from tests.fakes.upstream import FakeUpstream, Received, Reply, json_reply
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub.operations import preferences

HOMES = {"openai": "global", "cohere": "", "alibaba": "cn-beijing", "anthropic": "global"}
"""Provider to the region of both its credentials."""
BROKEN = json_reply({"error": {"message": "x"}}, 500)


@dataclass
class Outskirts:
    """A gateway whose every request could go to either of two upstreams, and who was asked, in order."""

    gateway: RunningGateway
    asked: list[int] = field(default_factory=list)
    answer: Callable[[Received], Reply] = every_surface.answer

    def upstream(self, number: int) -> FakeUpstream:
        def script(request: Received) -> Reply:
            self.asked.append(number)
            return self.answer(request)

        return FakeUpstream(script)

    def set(self, **members: object) -> None:
        subject = preferences.account(self.gateway.account_id)
        preferences.reset(self.gateway.hub, subject)
        if members:
            preferences.change(self.gateway.hub, subject, members)

    def ask(self, path: str) -> Answer:
        self.gateway.forget_faults()
        self.asked.clear()
        body, content_type = request_for(path, streamed=False)
        if path.endswith("count_tokens"):  # which Anthropic alone can do
            body = body.replace(MODEL.encode(), b"claude-sonnet-4.5")
        headers = {"Authorization": f"Bearer {self.gateway.key}", "Content-Type": content_type}
        return self.gateway.call("POST", path, body, headers)


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    gateway = start_gateway(
        temporary_home(tmp_path_factory.mktemp("outskirts")), {"upstream.retry_budget": 1.0, "jobs.poll_s": 600.0}
    )
    made = Outskirts(gateway)
    with made.upstream(1) as one, made.upstream(2) as two:
        for fake in (one, two):
            for provider, region in HOMES.items():
                gateway.add_credential(provider, fake.url, **({"region": region} if region else {}))
        yield made
        gateway.stop()


@pytest.mark.parametrize("path", PATHS)
def test_t103_t108_no_surface_reaches_what_lies_outside(outskirts: Outskirts, path: str) -> None:
    providers = sorted(HOMES)
    outskirts.answer = lambda _: BROKEN
    outskirts.set()
    outskirts.ask(path)
    assert len(outskirts.asked) == 2, "both can be reached"

    outskirts.set(deny_providers=providers)
    assert outskirts.ask(path).status == 403
    assert outskirts.asked == []

    def narrows(_: Received) -> Reply:
        outskirts.set(deny_providers=providers)
        return BROKEN

    outskirts.answer = narrows
    outskirts.set()
    outskirts.ask(path)
    assert len(outskirts.asked) == 1
