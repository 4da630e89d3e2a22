"""The reference pages, written by the program itself.

python -m tokenhub.cli.reference cli > docs/cli.md
python -m tokenhub.cli.reference configuration > docs/configuration.md
"""

import sys
from collections.abc import Iterator
from typing import Any

import typer

from tokenhub import settings
from tokenhub.cli.app import app, load
from tokenhub.cli.context import EVERYWHERE
from tokenhub.cli.nouns import NOUNS

_CLI_INTRODUCTION = """\
# Command line

<!-- Written by `python -m tokenhub.cli.reference cli`; change the program, not this page. -->

Every command works while the gateway runs and when it does not, and what it changes binds at once in every process. But `chat` asks a
gateway that runs, `rekey` and `restore` want none, and settings of `config.toml` bind at the gateway's next start.

- `--json` prints JSON whose field names stay. Amounts are exact decimal strings of US dollars, times are ISO 8601 in UTC.
- Data goes to stdout, messages to stderr. Without a terminal there is no colour and no question: what needs a
  confirmation then needs `--yes`, what needs a secret reads it from stdin (`config set`), or needs `--secret-stdin` or
  `--secret-env` (`credentials`).
- Exit codes: 0 done, 1 it failed, 2 it was asked for in a way that cannot work, 130 interrupted by Ctrl-C. Of `topup` and
  `refund`, 2 also says that Stripe has not decided yet: the gateway goes on watching.
- Where `--account` is not given, the one existing account is meant; with several it must be named.
- A date such as `2027-01-31` is a whole day in UTC; `2027-01-31T12:00:00Z` is a moment; a duration is a whole number with `s`, `m`, `h`, `d` or `w`.
- A table too wide for the terminal leaves columns out, never an amount, and says which; where that is not enough, each row is shown
  line by line. Into a pipe all of it goes.
- `tokenhub --install-completion` makes bash, zsh and fish complete commands and options; `tokenhub --version` prints the version.
- `TOKENHUB_DEBUG=1` shows the traceback of an internal error.
"""

_CONFIGURATION_INTRODUCTION = """\
# Settings

<!-- Written by `python -m tokenhub.cli.reference configuration`; change the program, not this page. -->

Settings stand in `config.toml` in the home, one table for each group. The environment wins over the file, and an option
on the command line over both. What is unknown or of a wrong type stops the start, with file and line. A running gateway
keeps the settings it started with. `tokenhub config list` shows every option with its value and where it comes from;
`tokenhub config set KEY VALUE` changes the file.

The home is the folder named by `--home`, else by `TOKENHUB_HOME`, else `tokenhub` in the user's data folder. It holds
`config.toml`, `tokenhub.db` (SQLite) and `master.key`. `TOKENHUB_MASTER_KEY` (32 bytes in base64) stands in for that file.

Secrets (`stripe.secret_key`, `stripe.webhook_secret`, `stripe.webhook_secret_2`, `smtp.password`, `notices.webhook_secret`) are
no settings: `tokenhub config set` reads them from a prompt or from stdin and keeps them sealed in the database.
"""


def cli() -> str:
    """Return the reference of all commands as Markdown."""
    parts = [_CLI_INTRODUCTION, *_everywhere()]
    panel = ""
    for noun in NOUNS.values():
        if noun.panel != panel:
            panel = noun.panel
            parts.append(f"## {panel}\n")
        parts.extend(_noun(noun.name))
    return "\n".join(parts)


def _everywhere() -> Iterator[str]:
    command = typer.main.get_command(app)
    yield "## Options of every command\n"
    yield from _table([param for param in _params(command) if _panel(param) == EVERYWHERE])


def _noun(name: str) -> Iterator[str]:
    command = load(name)
    verbs = getattr(command, "commands", None)
    if verbs is None:
        yield from _command(command, f"tokenhub {name}", "###")
        return
    yield f"### tokenhub {name}\n"
    yield f"{NOUNS[name].summary}\n"
    for verb, one in verbs.items():
        yield from _command(one, f"tokenhub {name} {verb}", "####")


def _command(command: Any, path: str, heading: str) -> Iterator[str]:
    params = [param for param in _params(command) if _panel(param) != EVERYWHERE and "--help" not in param.opts]
    arguments = " ".join(_argument(param) for param in params if param.param_type_name == "argument")
    yield f"{heading} {path}\n"
    yield "\n".join(line.strip() for line in command.help.splitlines()) + "\n"
    yield f"    {path} {arguments + ' ' if arguments else ''}[options]\n"
    yield from _table(params)
    yield "```console"
    yield from (f"$ {line}" for line in command.examples.splitlines())
    yield "```\n"


def _params(command: Any) -> list[Any]:
    return [param for param in command.get_params(typer.Context(command, info_name=command.name)) if not param.hidden]


def _panel(param: Any) -> str:
    return getattr(param, "rich_help_panel", None) or ""


def _argument(param: Any) -> str:
    return str(param.metavar) if param.required else f"[{param.metavar}]"


def _table(params: list[Any]) -> Iterator[str]:
    if not params:
        return
    yield "| option | meaning |"
    yield "|---|---|"
    for param in params:
        yield f"| {_cell(_name(param))} | {_cell(_meaning(param), code=False)} |"
    yield ""


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return _argument(param)
    switches = ", ".join((*param.opts, *param.secondary_opts))
    return f"{switches} {param.metavar}" if param.metavar else switches


def _meaning(param: Any) -> str:
    default = param.default if param.param_type_name == "option" and not param.is_flag and param.show_default else None
    return f"{param.help} Default: {default}." if default not in (None, "") else str(param.help)


def _cell(text: str, *, code: bool = True) -> str:
    escaped = text.replace("|", "\\|")
    return f"`{escaped}`" if code else escaped


def configuration() -> str:
    """Return the reference of all settings as Markdown."""
    parts = [_CONFIGURATION_INTRODUCTION]
    section = ""
    for option in settings.OPTIONS:
        group = option.key.partition(".")[0]
        if group != section:
            section = group
            parts.append(f"{'' if parts == [_CONFIGURATION_INTRODUCTION] else chr(10)}## {group}\n")
            parts.append("| key | environment | type | default | meaning |\n|---|---|---|---|---|")
        parts.append(
            f"| `{option.key}` | `{option.environment}` | {_kind(option)} | {_default(option)} | {option.help} |"
        )
    return "\n".join(parts) + "\n"


def _kind(option: settings.Option) -> str:
    if option.choices:
        return ", ".join(option.choices)
    bounds = "" if option.low is None else f", {option.low:,} to {option.high:,}"
    return option.type_name + bounds


def _default(option: settings.Option) -> str:
    if option.default == "":
        return "empty"
    return f"`{str(option.default).lower() if option.type is bool else option.default}`"


PAGES = {"cli": cli, "configuration": configuration}


def main() -> None:
    """Write the page that the command line names, else that of the commands, to stdout."""
    sys.stdout.write(PAGES[sys.argv[1] if len(sys.argv) > 1 else "cli"]())


if __name__ == "__main__":
    main()
