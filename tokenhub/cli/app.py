"""The program ``tokenhub``: the command tree, and how a command ends."""

import errno
import importlib
import os
import re
import resource
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from tokenhub.cli import render
from tokenhub.cli.context import DONE, FAILED, INTERRUPTED, USAGE, Group, Home, Json, Shared, debugging
from tokenhub.cli.nouns import NOUNS
from tokenhub.errors import HubError, InvalidRequest

_CLICK_ERROR: Final[type[Exception]] = typer.BadParameter.__mro__[2]
"""Click's base of everything a user got wrong; typer exports only this one descendant."""

_NEGATIVE: Final = re.compile(r"-[0-9.]+", re.ASCII)
_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

_FIRST_STEPS: Final = (
    "tokenhub serve",
    "tokenhub credentials add openai",
    "tokenhub accounts create acme && tokenhub grant 10 --account acme",
    "tokenhub keys create --account acme",
)


class Nouns(Group):
    """The first level: what is in the table of nouns, each imported when it is used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands = {
            noun.name: TyperCommand(noun.name, help=noun.summary, rich_help_panel=noun.panel) for noun in NOUNS.values()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(command.name or ""), rest


def load(name: str) -> Any:
    """Import a noun's module and return its command."""
    module = importlib.import_module(NOUNS[name].module)
    command = typer.main.get_command(module.app)
    command.name = name
    return command


app = typer.Typer(
    name="tokenhub",
    cls=Nouns,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\n".join(_FIRST_STEPS),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        render.print_line(f"tokenhub {version('tokenhub')}")
        raise typer.Exit


@app.callback()
def tokenhub(
    context: typer.Context,
    home: Home = None,
    as_json: Json = False,
    version: Annotated[  # noqa: ARG001  (its callback has acted)
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """An OpenAI-compatible LLM gateway with prepaid billing, in one program."""
    context.obj = Shared(home, as_json)


def main() -> None:
    """Run the command line that this process was started with."""
    _open_closed()
    _leave_no_core()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its code; no command fails over it.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))


def _open_closed() -> None:
    """Put something in the place of each standard stream that this process was started without.

    An input that is empty, an output that fails when it is written to, messages that nobody sees. Without
    them Python has None there, and the first files that are opened get their numbers.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _leave_no_core() -> None:
    """Keep the memory of this process, and of those that it starts, off the disk when they crash: prompts and keys are in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        return _run(arguments)
    except HubError as error:
        _give_output_up()
        render.complain(render.in_commands(str(error)))
        return USAGE if isinstance(error, InvalidRequest) else FAILED
    except _CLICK_ERROR as error:
        return _usage(error)
    except typer.Abort:
        render.complain("Stopped; nothing was changed.")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _give_output_up()
        return FAILED
    except Exception as error:
        _give_output_up()
        if isinstance(error, OSError) and (words := _refused_by_the_system(error)):
            render.complain(words)
            return FAILED
        if debugging():
            raise
        render.complain(
            f"Internal error ({type(error).__name__}). Set TOKENHUB_DEBUG=1 to see where, and please report it."
        )
        return FAILED


def _refused_by_the_system(error: OSError) -> str | None:
    """Say which file cannot be used, or that nothing can be written; None for an error that is about neither."""
    if error.filename is not None:
        return f"{error.filename} cannot be used ({error.strerror}). See to its owner, mode and disk, or name another home with --home DIR."
    if error.errno == errno.EBADF:
        return "the output is closed, so nothing was shown. Send it somewhere, such as > FILE."
    if error.errno in _DISK:
        return f"the output, or a file of the home, cannot be written ({error.strerror}). Make room where it goes."
    return None


def _give_output_up() -> None:
    """Drop what is still to be printed where that cannot be: the interpreter would fail over it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    ended = command.main(list(arguments), prog_name="tokenhub", standalone_mode=False)
    sys.stdout.flush()
    return ended if isinstance(ended, int) else DONE


def _usage(error: Any) -> int:
    """Say in one line what was wrong with a command line; a bare noun shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return DONE
    path = error.ctx.command_path if getattr(error, "ctx", None) else "tokenhub"
    message = " ".join(error.format_message().split()).rstrip(".")
    if _NEGATIVE.fullmatch(getattr(error, "option_name", "")):
        message = "A number must not begin with '-': no amount, id or setting is negative"
    render.complain(f"{message}{'' if message.endswith('?') else '.'} See: {path} --help")
    return int(error.exit_code)
