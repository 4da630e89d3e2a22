"""How the published clients tell of what went wrong: by their own errors, with the gateway's words. And how they bear waiting.

The configuration is the page's; what is tried stands in ``probes``.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clients import environments, pages
from tests.clients.conftest import Stage
from tests.clients.programs import NPM, PROGRAMS
from tests.clients.test_pages import DEADLINE_S, followed

PROBES = Path(__file__).parent / "probes"
PROBED = sorted(probe.stem for probe in PROBES.glob("*") if probe.stem in PROGRAMS)
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


pytestmark = pytest.mark.timeout(environments.DEADLINE_S + DEADLINE_S)
"""The first of a program's tests may have to install it."""


@pytest.fixture
def needs_node(program: str) -> None:
    if PROGRAMS[program].kind == NPM and shutil.which("npm") is None:
        pytest.skip("no Node.js: npm is not on the PATH")


def probe(program: str, stage: Stage, place: Path, key: str) -> dict[str, Any]:
    """Run a program's probe with the configuration of its page (all before its first remark); return what it reports."""
    page = pages.read(program)
    script = next(name for name in page.files if name.startswith("hello."))
    tried = next(PROBES.glob(f"{program}.*"))
    remark = "\n# " if tried.suffix == ".py" else "\n// "
    preamble = page.files[script].partition(remark)[0] + "\n"
    if tried.suffix == ".py":
        library = (PROBES / "probing.py").read_text(encoding="utf-8")
        files = {"page.py": preamble, "probing.py": library, script: tried.read_text(encoding="utf-8")}
    else:
        files = {script: preamble + tried.read_text(encoding="utf-8")}
    typed = tuple(replace(one, shown="") for one in page.typed)
    ran, stderr = pages.follow(
        replace(page, files=files, typed=typed), place, stage.gateway.address, key, deadline_s=DEADLINE_S
    )
    assert ran[-1].status == 0, stderr
    return json.loads(ran[-1].output.splitlines()[-1])


@pytest.mark.usefixtures("needs_node")
@pytest.mark.parametrize("program", PROBED)
def test_failures_are_told_as_such_and_silence_is_borne(program: str, stage: Stage, tmp_path: Path) -> None:
    before = len(stage.gateway.rows("SELECT id FROM requests"))
    told_of = probe(program, stage, tmp_path, stage.gateway.key)
    for name, told in told_of.items():
        if name.startswith("slow"):
            assert told == {"result": "Paris."}, name
            continue
        assert "result" not in told, (name, told)
        if name.startswith("unknown"):
            assert told["status"] in (404, None), (name, told)
            assert "no-such-model" in told["message"], (name, told)
        elif name.startswith("cut"):
            assert "failed in the middle" in told["message"], (name, told)
    rows = stage.gateway.settled(before + 1)[before:]
    slow = sum(name.startswith("slow") for name in told_of)
    assert slow > 0
    assert sum(row["charged"] > 0 for row in rows) == slow


@pytest.mark.usefixtures("needs_node")
@pytest.mark.parametrize("program", PROBED)
def test_a_wrong_key_is_told_as_such(program: str, stage: Stage, tmp_path: Path) -> None:
    for name, told in probe(program, stage, tmp_path, "th-wrong").items():
        assert "result" not in told, (name, told)
        if name.startswith("unknown"):
            assert told["status"] in (401, None), (name, told)
            assert "key" in told["message"], (name, told)


THINK = ("tell me what it prints.", "tell me what it prints. Think long.")


@pytest.mark.usefixtures("needs_node")
@pytest.mark.parametrize("program", ["codex", "claude-code", "opencode", "qwen-code", "pi", "gemini-cli"])
def test_an_agent_bears_silence(program: str, stage: Stage, tmp_path: Path) -> None:
    followed(pages.read(program).replaced(*THINK), stage, tmp_path)


@pytest.mark.usefixtures("needs_node")
@pytest.mark.parametrize("program", MODELS)
def test_an_unknown_model_is_told_by_a_program_of_the_command_line(program: str, stage: Stage, tmp_path: Path) -> None:
    page = pages.read(program)
    before = stage.gateway.balance()
    ran, stderr = pages.follow(
        page.replaced(MODELS[program], "no-such-model"),
        tmp_path,
        stage.gateway.address,
        stage.gateway.key,
        deadline_s=DEADLINE_S,
    )
    said = stderr + "".join(one.output for one in ran)
    assert "answer=42" not in said
    assert "no-such-model" in said
    assert stage.gateway.balance() == before
