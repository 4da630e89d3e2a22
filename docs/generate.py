"""Write the pages that follow from the program: ``make docs``. ``tests/test_docs.py`` fails while one is out of date.

- ``docs/cli.md`` from the command tree: every command, option and example;
- ``docs/configuration.md`` from the table of options in ``settings.py``.
"""

import inspect
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from tokenhub import settings
from tokenhub.cli import app
from tokenhub.cli.context import EVERYWHERE
from tokenhub.cli.nouns import NOUNS

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Made by `make docs` from the program; do not edit. -->\n"

CLI_HEAD = f"""\
# Command line

{NOTE}
`tokenhub NOUN VERB …`; `tokenhub --help`, `tokenhub NOUN --help` and `tokenhub NOUN VERB --help` say the same as this page. Commands work while the gateway
runs and while it does not, and bind at once in every process.

Every command takes `--home DIR` (else `$TOKENHUB_HOME`, else the user's data folder) and `--json`, which prints JSON with stable field names. Data goes to stdout,
messages to stderr. Exit codes: 0 done, 1 it failed, 2 it was asked for in a way that cannot work. No command waits for input without a terminal, and no secret is
taken from an argument.
"""

CONFIGURATION_HEAD = f"""\
# Configuration

{NOTE}
An option is taken from the first of these that names it: a flag of `tokenhub serve`, the environment, `config.toml` in the home, the default. In the file, `server.port` is
`port` under `[server]`; in the environment it is `TOKENHUB_SERVER_PORT`. An unknown option or a value of a wrong type stops the start, with file and line.

```console
$ tokenhub config list                         # every option, its value and where it comes from
$ tokenhub config set server.port 9000
$ TOKENHUB_LOG_LEVEL=debug tokenhub serve
```

`examples/config.toml` is a file to start from. Secrets are no options: provider keys are sealed in the database (`tokenhub credentials add`), and the master key stands in
`master.key` in the home, or in base64 in `TOKENHUB_MASTER_KEY`. `TOKENHUB_HOME` names the home. `TOKENHUB_DEBUG` shows tracebacks.
"""


def cell(text: object) -> str:
    """Return a text as it can stand in a table: on one line, no bar, underscores and angles as they are."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def cli_page() -> str:
    """Return the page of all commands."""
    parts = [CLI_HEAD]
    for panel, nouns in groupby(NOUNS.values(), key=lambda noun: noun.panel):
        parts.append(f"\n## {panel}\n")
        for noun in nouns:
            command = app.load(noun.name)
            verbs = getattr(command, "commands", None)
            parts.append(f"\n### {noun.name}\n\n{noun.summary}\n")
            for verb, one in (verbs or {"": command}).items():
                parts += command_lines(f"tokenhub {noun.name} {verb}".strip(), one, alone=verbs is None)
    return "".join(parts)


def command_lines(name: str, command: Any, *, alone: bool) -> Iterator[str]:
    """Yield one command: usage, help, arguments and options, examples."""
    context = typer.Context(command)
    parameters = [one for one in command.get_params(context) if not one.hidden and one.name != "help"]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option" and one.rich_help_panel != EVERYWHERE]
    shown = "".join(f" {one.metavar}" if one.required else f" [{one.metavar}]" for one in arguments)
    if not alone:
        yield f"\n#### `{name}`\n"
    yield f"\n```\n{name}{shown}{' [OPTIONS]' if options else ''}\n```\n\n{inspect.cleandoc(command.help or '')}\n"
    if arguments or options:
        yield "\n| | |\n| --- | --- |\n"
    for one in arguments:
        yield f"| `{cell(one.metavar)}` | {cell(one.help)} |\n"
    for one in options:
        names = ", ".join(f"`{option}`" for option in [*one.opts, *one.secondary_opts])
        value = "" if one.is_flag else f" `{cell(one.metavar)}`"
        default = (
            f" Default: `{cell(one.default)}`."
            if one.show_default and not one.is_flag and one.default not in (None, "")
            else ""
        )
        yield f"| {names}{value} | {cell(one.help)}{default} |\n"
    if command.examples:
        yield "\n```console\n" + "".join(f"$ {line}\n" for line in command.examples.splitlines()) + "```\n"


def configuration_page() -> str:
    """Return the page of all options."""
    parts = [CONFIGURATION_HEAD]
    for section, options in groupby(settings.OPTIONS, key=lambda option: option.key.split(".")[0]):
        parts.append(f"\n## {section}\n\n| option | default | what it is | values |\n| --- | --- | --- | --- |\n")
        for option in options:
            default = (
                '""' if option.default == "" else str(option.default).lower() if option.type is bool else option.default
            )
            parts.append(f"| `{option.key}` | `{default}` | {cell(option.help)} | {cell(values(option))} |\n")
    return "".join(parts)


def values(option: settings.Option) -> str:
    """Say what an option can be."""
    if option.choices:
        return ", ".join(option.choices)
    if option.low is None and option.high is None:
        return option.type_name
    return f"{option.type_name}, {option.low} to {option.high}"


def pages() -> dict[Path, str]:
    """Return every generated page by its file."""
    return {DOCS / "cli.md": cli_page(), DOCS / "configuration.md": configuration_page()}


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
