"""Three providers of the operator's own that sell one model, for tests of what happens when they fail."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.upstream import (
    FakeUpstream,
    Received,
    Reply,
    json_reply,
    openai_chat,
    openai_stream,
    openai_usage,
    sse_reply,
)
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub.operations import credentials, plans, providers
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.providers import OwnProvider

SOAK = os.environ.get("TOKENHUB_SOAK") == "1"
NAMES = ("alpha", "beta", "gamma")
CHAIN = "starter/chain"
"""The plan's own name for the model: at alpha, then beta, then gamma."""
PRICES = {
    "alpha": {"input": "1", "output": "10"},
    "beta": {"input": "2", "output": "20"},
    "gamma": {"input": "3", "output": "30"},
}
USAGE = openai_usage(1000, 100)
CANARY = "sk-canary-4711abcd"
"""In what a failing upstream says; a client must never see it."""

Script = Callable[[Received], Reply] | Reply


class Chain:
    """A gateway with alpha, beta and gamma behind it."""

    def __init__(self, gateway: RunningGateway, fakes: dict[str, FakeUpstream], credential_ids: dict[str, int]) -> None:
        self.gateway, self.fakes, self.credential_ids = gateway, fakes, credential_ids

    def play(self, *scripts: Script) -> None:
        """Let alpha, beta and gamma answer so from now on; who is not named says that it is itself.

        What they did before is forgotten, so that each test begins with all of them trusted.
        """
        self.gateway.forget_faults()
        for place, (name, fake) in enumerate(self.fakes.items()):
            fake.received.clear()
            script = scripts[place] if place < len(scripts) else said_by(name)
            fake.script = script if callable(script) else _always(script)

    def ask(self, model: str = CHAIN, **fields: Any) -> Answer:
        return self.gateway.chat(model, "word " * 1_000, max_tokens=200, **fields)

    @property
    def calls(self) -> list[int]:
        """How many requests each upstream has received since ``play``."""
        return [len(fake.received) for fake in self.fakes.values()]

    def row(self, answer: Answer) -> dict[str, Any]:
        return self.gateway.row_of(answer)


def _always(reply: Reply) -> Callable[[Received], Reply]:
    return lambda _: reply


def clean(name: str, *, stream: bool) -> Reply:
    """A good reply that says who gave it."""
    if stream:
        return sse_reply(openai_stream(["I am ", f"{name}."], usage=USAGE, model=f"{name}-model"))
    return json_reply(openai_chat(f"I am {name}.", usage=USAGE, model=f"{name}-model"))


def said_by(name: str) -> Callable[[Received], Reply]:
    return lambda request: clean(name, stream=bool(request.json().get("stream")))


def text_of(answer: Answer) -> str:
    """Return what a client reads of a reply, whole or streamed; a stream must end as a good one does."""
    if not answer.body.startswith((b"data:", b":")):
        return str(answer.json()["choices"][0]["message"]["content"])
    assert answer.body.endswith(b"data: [DONE]\n\n"), answer.body
    chunks = [json.loads(line[6:]) for line in answer.body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for one in chunks for choice in one["choices"])


@contextmanager
def open_chain(
    folder: Path,
    *,
    credit_nano: int = 10**15,
    prices: dict[str, dict[str, str]] | None = None,
    names: Sequence[str] = NAMES,
    **flags: object,
) -> Iterator[Chain]:
    """Serve from a new home with these providers."""
    flags = {"upstream.first_byte_s": 5.0, "upstream.idle_s": 5.0, **flags}
    gateway = start_gateway(temporary_home(folder), flags, credit_nano=credit_nano)
    with ExitStack() as stack:
        stack.callback(gateway.stop)
        fakes = {name: stack.enter_context(FakeUpstream([])) for name in names}
        ids = {}
        for name, fake in fakes.items():
            model = OwnModel(
                "shared-model", f"{name}-model", (prices or PRICES)[name], context=100_000, max_output=4_096
            )
            providers.add(gateway.hub, OwnProvider(name, fake.url, [model]))
            new = NewCredential(name, f"sk-{name}-upstream-0001")
            ids[name] = credentials.add(gateway.hub, new).id
        behind = tuple(f"{name}/shared-model" for name in names)
        plans.change(gateway.hub, "starter", {}, model_names={CHAIN: behind})
        yield Chain(gateway, fakes, ids)
