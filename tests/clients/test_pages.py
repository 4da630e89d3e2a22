"""Each page of ``docs/clients``, followed to the letter with the published program, does what it shows."""

import os
from pathlib import Path

import pytest

from tests.clients import environments, pages
from tests.clients.conftest import Stage
from tests.clients.programs import PROGRAMS

DEADLINE_S = 90

CHAT, MESSAGES, GEMINI, RESPONSES = "gpt-4.1-mini", "claude-sonnet-5.5", "gemini-3.8-flash", "gpt-6-sol"
"""A model for each dialect of an upstream; the last one's upstream takes tools in Responses alone."""
OTHER_MODELS = {
    "openai-python": ("gpt-4.1-mini", GEMINI),
    "openai-node": ("gpt-4.1-mini", MESSAGES),
    "anthropic-python": ("claude-sonnet-5.5", CHAT, GEMINI, RESPONSES),
    "anthropic-node": ("claude-sonnet-5.5", CHAT),
    "google-genai": ("gemini-3.5-flash", CHAT, MESSAGES, RESPONSES),
    "codex": ("gpt-6-sol", "glm-5.3", MESSAGES, GEMINI),
    "claude-code": ("claude-sonnet-5.5", "glm-5.3", CHAT, GEMINI, RESPONSES),
    "gemini-cli": ("gemini-3.8-flash", "qwen3.8-max", MESSAGES, RESPONSES),
    "opencode": ("glm-5.3", MESSAGES, RESPONSES),
    "pi": ("kimi-k3", GEMINI, RESPONSES),
    "qwen-code": ("qwen3.8-max", MESSAGES, GEMINI),
}
"""The model of a page, and those of other dialects and providers for which the page holds too."""
AGENTS = ("codex", "claude-code", "opencode", "qwen-code", "pi", "gemini-cli")
"""The first of their other models thinks long, which shows how they bear silence."""
SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
TRIED = [name for name, program in PROGRAMS.items() if SOAK or not program.slow]
CROSSED = [
    (program, page, other)
    for program, (page, *others) in OTHER_MODELS.items()
    if program in TRIED
    for other in (others if SOAK else others[:1])
]


pytestmark = pytest.mark.timeout(environments.DEADLINE_S + DEADLINE_S)
"""The first of a program's tests may have to install it."""


def followed(page: pages.Page, stage: Stage, place: Path) -> None:
    """Follow a page: every command does what the page shows, and every request that it made was answered and charged."""
    before = len(stage.gateway.rows("SELECT id FROM requests"))
    ran, stderr = pages.follow(page, place, stage.gateway.address, stage.gateway.key, deadline_s=DEADLINE_S)
    for one in ran:
        assert one.is_as_shown(), f"{one.command}\n{one.status}: {one.output}\n{stderr[-4000:]}"
    rows = stage.gateway.settled(before + 1)[before:]
    assert [(row["status"], row["end"]) for row in rows] == [(200, "settled")] * len(rows)
    assert all(row["charged"] > 0 for row in rows)


@pytest.mark.soak
@pytest.mark.usefixtures("needs_node")
@pytest.mark.parametrize("program", TRIED)
def test_a_page_does_what_it_shows(program: str, stage: Stage, tmp_path: Path) -> None:
    followed(pages.read(program), stage, tmp_path)


@pytest.mark.soak
@pytest.mark.usefixtures("needs_node")
@pytest.mark.parametrize(("program", "model", "other"), CROSSED)
def test_a_page_holds_for_a_model_of_another_dialect_also_when_it_thinks_long(
    program: str, model: str, other: str, stage: Stage, tmp_path: Path
) -> None:
    page = pages.read(program).replaced(model, other)
    if program in AGENTS and other == OTHER_MODELS[program][1]:
        page = page.replaced("tell me what it prints.", "tell me what it prints. Think long.")
    followed(page, stage, tmp_path)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_page_installs_what_was_tested(program: str) -> None:
    page = pages.read(program)
    assert page.installs == PROGRAMS[program].packages
    assert page.typed


def test_every_page_is_in_the_table_and_in_the_list() -> None:
    found = {page.stem for page in pages.DOCS.glob("*.md")} - {"README"}
    assert found == set(PROGRAMS)
    listed = (pages.DOCS / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(found) if f"]({name}.md)" not in listed] == []


LIES = {
    "another base URL": ("127.0.0.1:8080/v1", "127.0.0.1:8080/v2"),
    "another variable": ("OPENAI_API_KEY", "OPENAI_KEY"),
    "another model": ("gpt-4.1-mini", "gpt-4.1-minor"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_page_that_lies_is_caught(lie: str, stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="hello"):
        followed(pages.read("openai-python").replaced(*LIES[lie]), stage, tmp_path)
