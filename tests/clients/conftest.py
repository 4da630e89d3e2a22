"""A gateway with every provider that the pages name, all of them scripted."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.clients import upstream
from tests.clients.programs import NPM, PROGRAMS
from tests.fakes.upstream import FakeUpstream
from tests.harness import RunningGateway, start_gateway, temporary_home

PROVIDERS = {"openai": None, "anthropic": None, "google": None, "deepseek": None}
PROVIDERS |= {"alibaba": "ap-southeast-1", "zhipu": "intl", "moonshot": "intl"}
"""Name to region, where a provider has several that differ."""


KEEP_ALIVE_S = upstream.SILENCE_S / 4
"""Often enough that clients meet it: in every answer that is slow, before its first words and between them."""


@dataclass(frozen=True)
class Stage:
    """What a client is run against."""

    gateway: RunningGateway
    upstream: FakeUpstream


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("clients")), {"server.keep_alive_s": KEEP_ALIVE_S})
    with FakeUpstream(upstream.answer) as fake:
        for provider, region in PROVIDERS.items():
            gateway.add_credential(provider, fake.url, region=region)
        yield Stage(gateway, fake)
        gateway.stop()


@pytest.fixture
def needs_node(program: str) -> None:
    skip_without_node(program)


def skip_without_node(program: str) -> None:
    if PROGRAMS[program].kind == NPM and shutil.which("npm") is None:
        pytest.skip("no Node.js: npm is not on the PATH")
