"""How the published clients tell of what went wrong: by their own errors, with the gateway's words. And how they bear waiting.

The configuration is the page's; what is tried stands in ``probes``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.clients import environments, pages
from tests.clients.conftest import Stage, skip_without_node
from tests.clients.test_pages import DEADLINE_S, TRIED

PROBES = Path(__file__).parent / "probes"
PROBED = sorted(probe.stem for probe in PROBES.glob("*") if probe.stem in TRIED)
MODELS = {
    "llm": "gpt-4.1-mini",
    "aider": "deepseek-v4.1-flash",
    "codex": "gpt-6-sol",
    "claude-code": "claude-sonnet-5.5",
    "opencode": "glm-5.3",
    "qwen-code": "qwen3.8-max",
    "pi": "kimi-k3",
    "gemini-cli": "gemini-3.8-flash",
}
"""Programs of the command line, and the model of their pages."""
ASKED_BY = {"llm": 2}
"""How many commands of a page it takes to ask a model, where a page goes on."""


pytestmark = [pytest.mark.soak, pytest.mark.timeout(environments.DEADLINE_S + DEADLINE_S)]
"""The first of a program's tests may have to install it."""


Told = dict[str, dict[str, Any]]
"""What a probe reports: of each attempt its result, or error, status and message."""


@dataclass(frozen=True)
class Probed:
    """What a program told with the key of its page and with a wrong one, and the requests it made."""

    right: Told
    wrong: Told
    rows: Sequence[dict[str, Any]]


@pytest.fixture(scope="module", params=PROBED)
def probed(request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Probed:
    skip_without_node(request.param)
    before = len(stage.gateway.rows("SELECT id FROM requests"))
    right, wrong = probe(request.param, stage, tmp_path_factory.mktemp("probed"))
    return Probed(right, wrong, stage.gateway.settled(before + 1)[before:])


def probe(program: str, stage: Stage, place: Path) -> list[Told]:
    """Run a program's probe with the configuration of its page (all before its first remark) and each key."""
    page = pages.read(program)
    script = next(name for name in page.files if name.startswith("hello."))
    tried = next(PROBES.glob(f"{program}.*"))
    is_python = tried.suffix == ".py"
    preamble = page.files[script].partition("\n# " if is_python else "\n// ")[0] + "\n"
    files = {script: preamble + tried.read_text(encoding="utf-8")}
    if is_python:
        library = (PROBES / "probing.py").read_text(encoding="utf-8")
        files = {"page.py": preamble, "probing.py": library, script: tried.read_text(encoding="utf-8")}
    each = f"each{tried.suffix}"
    made = {f"right/{name}": text for name, text in files.items()}
    made |= {f"wrong/{name}": text.replace(pages.KEY, "th-wrong") for name, text in files.items()}
    made[each] = (PROBES / each).read_text(encoding="utf-8")
    typed = tuple(replace(one, command=one.command.replace(script, each), shown="") for one in page.typed)
    ran, stderr = pages.follow(
        replace(page, files=made, typed=typed), place, stage.gateway.address, stage.gateway.key, deadline_s=DEADLINE_S
    )
    assert ran[-1].status == 0, stderr
    return [json.loads(line) for line in ran[-1].output.splitlines() if line.startswith("{")]


def test_failures_are_told_as_such_and_silence_is_borne(probed: Probed) -> None:
    for name, told in probed.right.items():
        if name.startswith("slow"):
            assert told == {"result": "Paris."}, name
            continue
        assert "result" not in told, (name, told)
        if name.startswith("unknown"):
            assert told["status"] in (404, None), (name, told)
            assert "no-such-model" in told["message"], (name, told)
        elif name.startswith("cut"):
            assert "failed in the middle" in told["message"], (name, told)
    slow = sum(name.startswith("slow") for name in probed.right)
    assert slow > 0
    assert sum(row["charged"] > 0 for row in probed.rows) == slow


def test_a_wrong_key_is_told_as_such(probed: Probed) -> None:
    assert probed.wrong.keys() == probed.right.keys()
    for name, told in probed.wrong.items():
        assert "result" not in told, (name, told)
        if name.startswith("unknown"):
            assert told["status"] in (401, None), (name, told)
            assert "key" in told["message"], (name, told)


@pytest.mark.usefixtures("needs_node")
@pytest.mark.parametrize("program", [program for program in MODELS if program in TRIED])
def test_an_unknown_model_is_told_by_a_program_of_the_command_line(program: str, stage: Stage, tmp_path: Path) -> None:
    page = pages.read(program)
    before = stage.gateway.balance()
    ran, stderr = pages.follow(
        replace(page, typed=page.typed[: ASKED_BY.get(program)]).replaced(MODELS[program], "no-such-model"),
        tmp_path,
        stage.gateway.address,
        stage.gateway.key,
        deadline_s=DEADLINE_S,
    )
    said = stderr + "".join(one.output for one in ran)
    assert "answer=42" not in said
    assert "no-such-model" in said
    assert stage.gateway.balance() == before
