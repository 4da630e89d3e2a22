"""``tokenhub config``: the settings file."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub.cli import render
from tokenhub.cli.context import Door, command, noun
from tokenhub.cli.render import Column

if TYPE_CHECKING:
    from tokenhub.operations.config import Setting

app = noun("config")

Key = Annotated[str, typer.Argument(metavar="KEY", help="An option's key, such as server.port.")]

COLUMNS = (
    Column("key", "Key"),
    Column("value", "Value"),
    Column("origin", "From"),
    Column("help", "Meaning"),
)


def row(setting: "Setting") -> dict[str, Any]:
    """Return a setting as it is shown; a database's password is left out."""
    option = setting.option
    return {
        "key": option.key,
        "value": setting.shown,
        "origin": setting.origin,
        "default": option.default,
        "environment": option.environment,
        "help": option.help,
    }


@command(app, "list", examples=["tokenhub config list"])
def list_(door: Door) -> None:
    """List every option with its value, and where that comes from."""
    from tokenhub.operations import config

    door.rows([row(setting) for setting in config.listing(door.home)], COLUMNS, empty="There is no option.")


@command(app, examples=["tokenhub config get server.port"])
def get(door: Door, key: Key) -> None:
    """Print the value of one option."""
    from tokenhub.operations import config

    setting = config.show(door.home, key)
    if door.as_json:
        door.record(row(setting), COLUMNS)
    else:
        render.print_line(render.inert(setting.shown))


@command(app, "set", examples=["tokenhub config set server.port 9000", "tokenhub config set routing.failover false"])
def set_(door: Door, key: Key, value: Annotated[str, typer.Argument(metavar="VALUE", help="Its new value.")]) -> None:
    """Write an option to config.toml. A running gateway keeps the settings it started with."""
    from tokenhub.operations import config

    _tell(door, config.change(door.home, key, value))


@command(app, examples=["tokenhub config reset server.port"])
def reset(door: Door, key: Key) -> None:
    """Take an option out of config.toml: its default holds again."""
    from tokenhub.operations import config

    _tell(door, config.reset(door.home, key))


def _tell(door: Door, setting: "Setting") -> None:
    messages = [f"{setting.option.key} is {setting.shown or 'empty'} from the next start of the gateway on."]
    if setting.origin == "environment":
        messages.append(f"{setting.option.environment} in the environment wins over the file.")
    door.done(row(setting), *messages)
