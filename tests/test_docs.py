"""The reference pages say what the program does; every command and option is explained, every example parses."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from tokenhub import settings
from tokenhub.cli import app, reference
from tokenhub.cli.nouns import NOUNS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"cli": "cli.md", "configuration": "configuration.md"}


def commands() -> dict[str, Any]:
    """Return every command by the words that call it."""
    found = {}
    for name in NOUNS:
        noun = app.load(name)
        for verb, command in getattr(noun, "commands", {"": noun}).items():
            found[f"tokenhub {name} {verb}".strip()] = command
    return found


COMMANDS = commands()


@pytest.mark.parametrize("page", PAGES)
def test_a_reference_page_is_what_the_program_would_write_now(page: str) -> None:
    written = (DOCS / PAGES[page]).read_text(encoding="utf-8")
    assert written == reference.PAGES[page](), f"run: python -m tokenhub.cli.reference {page} > docs/{PAGES[page]}"


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_and_each_of_its_options_are_explained(path: str) -> None:
    command = COMMANDS[path]
    assert command.help, path
    assert command.help.split("\n")[0].endswith("."), path
    assert command.examples, path
    for param in command.get_params(typer.Context(command)):
        assert param.help, (path, param.opts)
        assert param.help.rstrip()[-1] in ".!", (path, param.opts)
        is_switch = getattr(param, "is_flag", False)
        assert is_switch or (param.metavar and param.metavar.isprintable()), (path, param.opts)


@pytest.mark.parametrize("path", COMMANDS)
def test_each_example_of_a_command_parses(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKENHUB_HOME", str(tmp_path))
    lines = [
        line for example in COMMANDS[path].examples.splitlines() for line in re.split(r" && | \| | \|\| ", example)
    ]
    calls = [shlex.split(line.split(" > ")[0].removeprefix("KEY=$(").removesuffix(")")) for line in lines]
    parsed = [parse(words) for words in calls if words[0] == "tokenhub"]
    assert path in parsed


def parse(words: list[str]) -> str:
    """Parse a command line and return the words that call its command; raises what its user would see."""
    noun = app.load(words[1])
    verbs = getattr(noun, "commands", None)
    command, arguments = (noun, words[2:]) if verbs is None else (verbs[words[2]], words[3:])
    command.make_context(words[1], list(arguments))
    return " ".join(words[: len(words) - len(arguments)])


def test_every_option_of_the_settings_is_documented() -> None:
    page = (DOCS / PAGES["configuration"]).read_text(encoding="utf-8")
    for option in settings.OPTIONS:
        assert f"| `{option.key}` | `{option.environment}` |" in page
        assert option.help


def test_every_noun_of_the_table_has_a_module_and_every_module_a_noun() -> None:
    folder = Path(app.__file__).parent
    helpers = {"__init__", "app", "context", "nouns", "reference", "render", "values"}
    assert {path.stem for path in folder.glob("*.py")} - helpers == set(NOUNS)


def test_the_first_level_says_what_each_noun_says_of_itself() -> None:
    for name, noun in NOUNS.items():
        command = app.load(name)
        assert noun.summary.endswith(".")
        if hasattr(command, "commands"):
            assert command.help == noun.summary
