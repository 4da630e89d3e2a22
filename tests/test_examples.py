"""Every example is run, against the program as a user starts it, with the local model behind it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.stripe import FakeStripe
from tests.harness import start_gateway, temporary_home
from tokenhub import settings
from tokenhub.operations import secrets
from tokenhub.paths import Home

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAM = [sys.executable, "-c", "import sys; from tokenhub.cli.app import main; sys.exit(main())"]

SCRIPTS = {
    "chat.py": r".+\n\d+ \+ \d+ tokens, 0 USD\n",
    "stream.py": r".+\n\d+ tokens, 0 USD\n",
    "tools.py": r"get_weather\(\{'city': '[^\n]+'\}\)\n.+\n",
    "embeddings.py": r"3 vectors of 576 numbers, \d+ tokens\n-?[01]\.\d\d  A kitten.*\n-?[01]\.\d\d  Revenue.*\n",
    "models.py": r"(?:.*\n)*smollm2-135m: 3072 tokens, 0 \+ 0 USD per token\n(?:.*\n)*/key .*\n/credits .*\n",
    "curl.sh": r"# a chat\n\{.*\}\n# the same, as it comes\n(?:data: .*\n\n|: .*\n\n)+\n"
    r"# OpenAI Responses\n\{.*\}\n# Anthropic Messages.*\n\{.*\}\n\{.*\}\n# Google's .*\n\{.*\}\n# a text .*\n\{.*\}\n"
    r"# embeddings\n\{.*\}\n# what this key .*\n(?:\{.*\}\n){5}# the receipt .*\n\{\"data\":.*\}\n",
}
"""Script to what it prints."""
FILES = {"config.toml", "provider.toml"}


@dataclass(frozen=True)
class Served:
    """An installation that serves the local model."""

    base_url: str
    api_key: str
    environment: dict[str, str]


def tokenhub(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run([*PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENHUB_", "OPENAI_"))}
    return kept | {"TOKENHUB_HOME": str(tmp_path_factory.mktemp("examples") / "home")}


@pytest.fixture(scope="module")
def gateway(environment: dict[str, str]) -> Iterator[Served]:
    tokenhub(environment, "init")
    tokenhub(environment, "accounts", "create", "acme")
    key = json.loads(tokenhub(environment, "keys", "create", "--json"))["key"]
    serving = subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", "--local", "--json"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert serving.stdout is not None
    with serving:
        address = json.loads(serving.stdout.readline())["address"]
        yield Served(f"{address}/v1", key, environment)
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(60) == 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_does_what_it_says(script: str, gateway: Served) -> None:
    command = [sys.executable] if script.endswith(".py") else [shutil.which("sh") or "/bin/sh"]
    environment = gateway.environment | {"TOKENHUB_BASE_URL": gateway.base_url, "TOKENHUB_API_KEY": gateway.api_key}
    done = subprocess.run(
        [*command, str(EXAMPLES / script)], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(SCRIPTS[script], done.stdout), done.stdout


def test_the_example_of_settings_is_taken_and_says_something_new(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "config.toml", tmp_path / "config.toml")
    (tmp_path / "config.toml").chmod(0o600)
    loaded = settings.load(Home(tmp_path, explicit=True), {})
    assert loaded.server_workers == 2
    assert loaded.local_enabled is False
    assert loaded != settings.Settings()


def test_the_example_of_a_provider_can_be_added_and_its_models_are_listed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    own = environment | {"TOKENHUB_HOME": str(tmp_path / "home")}
    tokenhub(own, "init")
    tokenhub(own, "providers", "add", "--file", str(EXAMPLES / "provider.toml"))
    listed = json.loads(tokenhub(own, "models", "list", "--all", "--provider", "cellar", "--json"))
    assert {one["id"] for one in listed} == {"qwen3-8b", "bge-m3"}


def test_the_example_of_selling_hands_out_a_link_and_sees_it_paid(tmp_path: Path, stripe: FakeStripe) -> None:
    program = tmp_path / "bin" / "tokenhub"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{PROGRAM[2]}\n")
    program.chmod(0o755)
    gateway = start_gateway(temporary_home(tmp_path), {"stripe.api_base": stripe.url}, credit_nano=0)
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOKENHUB_")} | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "TOKENHUB_HOME": str(gateway.hub.home.path),
        "TOKENHUB_STRIPE_API_BASE": stripe.url,
    }
    try:
        secrets.set(gateway.hub, "stripe.secret_key", stripe.secret_key)
        selling = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "sell.py"), "acme", "7.50"], env=own, stdout=subprocess.PIPE, text=True
        )
        with selling:
            assert selling.stdout is not None
            assert selling.stdout.readline().startswith("Pay 7.50 USD here: https://checkout.stripe.com/c/pay/")
            stripe.pay(stripe.of("checkout.session")[0])
            assert selling.communicate(timeout=60)[0] == "paid: acme has 7.5 USD\n"
        assert selling.returncode == 0
    finally:
        gateway.stop()


def test_no_example_is_left_out() -> None:
    assert {file.name for file in EXAMPLES.iterdir() if file.is_file()} == SCRIPTS.keys() | FILES | {"sell.py"}
