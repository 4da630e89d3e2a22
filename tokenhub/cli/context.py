"""What every command shares: the options --home and --json, the hub, ways to answer, errors and exit codes.

A command is a function of a :class:`Door` and its own options::

    @command(app, examples=["tokenhub accounts create acme"])
    def create(door: Door, name: Annotated[str, typer.Argument(help="…")]) -> None:

Exit codes (T123): 0 done, 1 it failed, 2 it was asked for in a way that cannot work, 130 interrupted.
"""

import functools
import inspect
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import typer
from typer.core import TyperCommand, TyperGroup

from tokenhub.cli import render, tables, values
from tokenhub.cli.help import Help
from tokenhub.cli.nouns import NOUNS
from tokenhub.cli.tables import Column, Row
from tokenhub.errors import HubError, InvalidRequest

if TYPE_CHECKING:
    from tokenhub import paths
    from tokenhub.operations.hub import Hub

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

EVERYWHERE: Final = "Options of every command"

_COMMAND: Final = re.compile(rf"(?<![/\w.-])tokenhub (?=({'|'.join(NOUNS)})\b)(?!init --home)")
"""The beginning of a command that a text tells to run."""

Home = Annotated[
    Any,
    typer.Option(
        "--home",
        metavar="DIR",
        parser=values.folder,
        help="Folder with config.toml, the database and the master key. Else $TOKENHUB_HOME, else your user data folder.",
        rich_help_panel=EVERYWHERE,
        show_default=False,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print JSON with stable field names, for programs.", rich_help_panel=EVERYWHERE),
]
AccountName = Annotated[
    str | None,
    typer.Option(
        "--account", metavar="NAME", help="The account; not needed while there is only one.", show_default=False
    ),
]
OnlyAccount = Annotated[
    str | None,
    typer.Option("--account", metavar="NAME", help="Only this account. Else all.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def whose(account: str | None, names: Collection[str]) -> str:
    """Return the option by which a command means the account that a list is narrowed to; '' where there is only one."""
    if account is None and len(names) < 2:
        return ""
    return f" --account {'NAME' if account is None else shlex.quote(account)}"


@dataclass(frozen=True, slots=True)
class Shared:
    """The options given before the noun: ``tokenhub --home DIR --json keys list``."""

    home: Path | None = None
    json: bool = False


class Door:
    """A command's way in and out: the hub, opened when first used, and stdout, stderr and the terminal."""

    def __init__(self, home: Path | None, *, as_json: bool) -> None:
        self._home = home
        self.as_json = as_json

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "hub" in self.__dict__:
            self.hub.close()
        if isinstance(error, HubError):
            error.message = self.told(error.message)

    @cached_property
    def home(self) -> "paths.Home":
        """The folder that --home names, else the environment, else the user's own."""
        from tokenhub import paths

        return paths.home(self._home)

    @cached_property
    def hub(self) -> "Hub":
        """The installation, opened with its settings; closed with the door."""
        from tokenhub.operations.hub import Hub

        return Hub.open(self.home)

    def rows(self, rows: Sequence[Row], columns: Sequence[Column], *, empty: str) -> None:
        """Show a list. ``empty`` tells people what an empty one means."""
        if self.as_json:
            render.print_line(render.as_json(list(rows)))
        elif rows:
            tables.print_table(rows, columns)
        else:
            self.say(empty)

    def record(self, row: Row, columns: Sequence[Column]) -> None:
        """Show one thing."""
        if self.as_json:
            render.print_line(render.as_json(row))
        else:
            tables.print_record(row, columns)

    def done(self, row: Row, *messages: str, data: str | None = None) -> None:
        """Tell what was done. ``data`` is the one thing a script wants to catch, such as a new key."""
        if self.as_json:
            render.print_line(render.as_json(row))
            return
        for message in messages:
            self.say(message)
        if data is not None:
            render.print_line(data)

    def say(self, text: str) -> None:
        """Write a message, one line, to stderr."""
        render.say(self.told(text))

    def complain(self, text: str) -> None:
        """Write what went wrong, and what to do, as one line to stderr."""
        render.complain(self.told(text))

    def told(self, text: str) -> str:
        """Return a text in which every command has the --home that this one was given, so that it can be pasted as it is."""
        from tokenhub import paths

        if self._home is None or self.home.path == paths.home().path:
            return text
        place = shlex.quote(str(self.home.path))
        return _COMMAND.sub(lambda _: f"tokenhub --home {place} ", text)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something that cannot be taken back; without a yes the command ends (T126)."""
        if not self.agreed(question, yes=yes):
            raise typer.Abort

    def agreed(self, question: str, *, yes: bool) -> bool:
        """Ask what ``--yes`` has not answered; without a terminal it must have."""
        if yes:
            return True
        if not self.can_ask():
            raise InvalidRequest(f"{question} Add --yes to confirm; there is no terminal to ask on.")
        return self.ask(question)

    def can_ask(self) -> bool:
        """Tell whether somebody is there to answer (T123: never wait for input without a terminal)."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def ask(self, question: str) -> bool:
        """Ask a yes-or-no question on the terminal; an empty answer is no. EOFError: there will be no answer."""
        with _ending_its_line():
            print(f"{render.inert(question)} [y/N] ", end="", file=sys.stderr, flush=True)
            answer = sys.stdin.readline()
        if not answer:
            raise EOFError
        return answer.strip().lower() in ("y", "yes")

    def ask_unseen(self, what: str) -> str:
        """Ask for a secret on the terminal, which does not show it. EOFError: there will be no answer."""
        from getpass import getpass

        with _ending_its_line():
            return getpass(f"{what} (not shown while you type): ").strip()


@contextmanager
def _ending_its_line() -> Iterator[None]:
    """End the line of a question that is interrupted; typer does so for one that is given up (Ctrl-D)."""
    try:
        yield
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise


class _Text:
    """Reads an option's text by its own ``parser``.

    Typer would import pydantic for it (0.1 s a command), and pydantic's numbers are laxer
    than T122 allows.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if isinstance(value, list | tuple):
            return tuple(self.coerce(part, _Single(param), ctx) for part in value)
        descriptor = param.type_descriptor
        read = descriptor.parameter_info.parser or (Path if descriptor.annotation is Path else None)
        if not isinstance(value, str):
            return value
        try:
            return read(value) if read is not None else _encodable(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=getattr(param, "whole", param)) from error


def _encodable(text: str) -> str:
    """Return a text as it is; ValueError for bytes that are none, which nothing can be called."""
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{text[:40]!r} is not UTF-8 text.")
    return text


class _Single:
    """One value of an option that may be given several times."""

    multiple = False
    nargs = 1

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self.type_descriptor = whole.type_descriptor


class _Ours(Help):
    """What our commands and groups do otherwise than typer's: options are read by :class:`_Text`, help ends with examples."""

    epilog: str | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = self.epilog or ""
        self.epilog = None

    def get_params(self, ctx: Any) -> Any:
        return [_ours(param) for param in super().get_params(ctx)]  # type: ignore[misc]


class Command(_Ours, TyperCommand):
    """A verb."""


class Group(_Ours, TyperGroup):
    """A noun with verbs."""


def _ours(param: Any) -> Any:
    """Make a parameter read its text by its own parser; take the type of a switch out of the help."""
    param._runtime_param = _Text()
    if getattr(param, "is_flag", False):
        param.metavar = ""
    return param


def noun(name: str) -> typer.Typer:
    """Return the command group of a noun."""
    return typer.Typer(
        name=name,
        help=NOUNS[name].summary,
        cls=Group,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )


def verb(name: str) -> typer.Typer:
    """Return the holder of a command that stands alone on the first level."""
    return typer.Typer(name=name, add_completion=False, rich_markup_mode=None)


def command(
    app: typer.Typer, name: str | None = None, *, examples: Sequence[str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function of a :class:`Door` and its options as a command; the examples end its help."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name, cls=Command, epilog="\n".join(examples))(_with_door(function))
        return function

    return register


def _with_door(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function as typer calls it: with --home and --json in the place of its door."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    @functools.wraps(function)
    def run(context: typer.Context, home: Path | None, as_json: bool, **options: Any) -> None:
        shared = context.find_root().obj or Shared()
        with Door(home or shared.home, as_json=as_json or shared.json) as door:
            function(door, **options)

    everywhere = [_parameter("home", Home, None), _parameter("as_json", Json, False)]
    parameters = [_parameter("context", typer.Context, inspect.Parameter.empty), *own, *everywhere]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


def end_tidily() -> None:
    """Let a command that is told to end, or whose terminal is closed, take away what it has not finished."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


def debugging() -> bool:
    """Tell whether ``TOKENHUB_DEBUG`` asks for tracebacks."""
    return bool(os.environ.get("TOKENHUB_DEBUG"))
