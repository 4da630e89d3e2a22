"""What README.md shows is run: the commands and programs of its first ten minutes, in its order, against one gateway.

``make serve`` stands for ``tokenhub serve`` in the home of a person who has none yet; the port is a free one.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.stripe import FakeStripe
from tokenhub.proxy import local_model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8080"
DEADLINE_S = 200

PROGRAM = f"#!{sys.executable}\nimport sys\nfrom tokenhub.cli.app import main\nsys.exit(main())\n"
MARK = "::: "
SHAPES = (
    (re.compile(r"th-[0-9A-Za-z]{43}"), "th-…"),
    (re.compile(r"\bkey_[0-9a-z]{32}"), "key_…"),
    (re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?(?= UTC))?"), "YYYY-MM-DD"),
    (re.compile(r"(?<=/c/pay/cs_test_)\S+"), "…"),
)
"""What differs from run to run, and how both sides are read."""


def blocks(language: str) -> list[str]:
    """Return the README's blocks in one language."""
    return re.findall(rf"```{language}\n(.*?)```\n", README, re.S)


COMMANDS = [
    (line.splitlines()[0], "".join(f"{one}\n" for one in line.splitlines()[1:]))
    for block in blocks("console")
    for line in re.split(r"^\$ ", block, flags=re.M)[1:]
]
"""Every command with what is shown below it."""


def shaped(text: str) -> str:
    for pattern, shape in SHAPES:
        text = pattern.sub(shape, text)
    return text


@dataclass(frozen=True)
class Person:
    """Somebody at the first run: a home folder, what ``serve`` has said, and the environment of the second terminal."""

    address: str
    said: str
    printed: str
    environment: dict[str, str]

    def shell(self, script: str, folder: Path = ROOT) -> str:
        """Run a script as it stands in the README; return all it shows, with the README's address."""
        done = subprocess.run(
            ["/bin/sh", "-e"], input=script.replace(ADDRESS, self.address), cwd=folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout.replace(self.address, ADDRESS)


@contextmanager
def payer(stripe: FakeStripe) -> Iterator[None]:
    """Somebody who pays every link as soon as it is there."""
    gone = threading.Event()

    def pay() -> None:
        while not gone.wait(0.2):
            for session in stripe.of("checkout.session", status="open"):
                stripe.pay(session)

    thread = threading.Thread(target=pay, daemon=True)
    thread.start()
    yield
    gone.set()
    thread.join(5)


@pytest.fixture(scope="module")
def stripe() -> Iterator[FakeStripe]:
    with FakeStripe.start() as fake, payer(fake):
        yield fake
        assert fake.broken == []


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory, stripe: FakeStripe) -> Iterator[Person]:
    assert local_model.available() is None
    home = tmp_path_factory.mktemp("person")
    program = home / "bin" / "tokenhub"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    environment = {
        "HOME": str(home),
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "TOKENHUB_STRIPE_API_BASE": stripe.url,
    }
    messages = home / "messages"
    with messages.open("w") as stderr:
        serving = subprocess.Popen(
            [str(program), "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert serving.stdout is not None
    with serving:
        try:
            printed = ""
            while not printed.endswith("}'\n"):
                line = serving.stdout.readline()
                assert line, messages.read_text()
                printed += line
            said = messages.read_text()
            address = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert address is not None, said
            key = re.search(r"th-[0-9A-Za-z]{43}", printed)
            assert key is not None, printed
            second = environment | {
                "TOKENHUB_API_KEY": key[0],
                "TOKENHUB_SERVER_PORT": address[0].rpartition(":")[2],
                "OPENAI_API_KEY": "sk-proj-aaaabbbbccccddddeeeeffff0000",
                "STRIPE_SECRET_KEY": stripe.secret_key,
            }
            yield Person(address[0], said, printed, second)
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(60) == 0
        finally:
            serving.kill()


def test_the_first_run_says_what_the_readme_shows(person: Person) -> None:
    home = person.environment["HOME"]
    seen = (person.said + person.printed).replace(person.address, ADDRESS)
    lines = [line for line in shaped(seen).replace(home, "~").splitlines(keepends=True) if not line.startswith("{")]
    # Where the data are kept is the platform's choice.
    shown = blocks("text")[0].replace(
        "~/.local/share/tokenhub", re.findall(r"Its data are in (\S+)\.", "".join(lines))[0]
    )
    assert "".join(lines) == shown


def test_the_lines_to_paste_get_an_answer(person: Person) -> None:
    answer = person.shell(person.printed) if shutil.which("curl") else asked_without_curl(person.printed)
    assert '"The capital of France is Paris."' in answer


def asked_without_curl(lines: str) -> str:
    """Make the request that an ``export`` and a ``curl`` line describe, where there is no curl to paste them to."""
    key = re.search(r"^export TOKENHUB_API_KEY=(\S+)$", lines, re.M)
    assert key is not None
    command = lines[lines.index("curl ") :].replace("$TOKENHUB_API_KEY", key[1]).replace("\\\n", " ")
    _, url, *options = shlex.split(command)
    given = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in given if option == "-H")
    [body] = [value for option, value in given if option == "-d"]
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers), timeout=DEADLINE_S) as reply:
        return str(reply.read().decode())


def test_the_program_for_the_sdk_prints_an_answer(person: Person, tmp_path: Path) -> None:
    [program] = blocks("python")
    (tmp_path / "first.py").write_text(program.replace(ADDRESS, person.address), encoding="utf-8")
    assert "Paris" in person.shell(f"'{sys.executable}' first.py", tmp_path)


def test_the_commands_show_what_the_readme_shows(person: Person) -> None:
    assert COMMANDS[0] == ("make serve", "")
    commands = COMMANDS[1:]
    # curl and the SDK have asked once each in the README's order, whatever of this file is run.
    asked = len(json.loads(person.shell("tokenhub requests list --json")))
    person.shell("tokenhub chat 'What is the capital of France?'\n" * max(0, 2 - asked))
    script = "".join(f"echo '{MARK}{number}'\n{command}\n" for number, (command, _) in enumerate(commands))
    shown = re.split(rf"^{MARK}\d+\n", person.shell(script), flags=re.M)[1:]
    assert len(shown) == len(commands)
    for (command, expected), found in zip(commands, shown, strict=True):
        if expected:
            assert shaped(found) == shaped(expected), command
        else:
            assert found or command.startswith("export "), command


def test_every_target_of_make_is_named() -> None:
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert targets is not None
    assert [target for target in targets[1].split() if f"`make {target}`" not in README] == []
