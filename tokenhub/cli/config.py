"""``tokenhub config``: the settings file, and the installation's own secrets, which are kept sealed in the database.

A secret is typed unseen or read from stdin; it never stands on a command line (T121), and
once kept only its last characters are shown.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokenhub.cli import render
from tokenhub.cli.context import Door, command, noun
from tokenhub.cli.tables import Column
from tokenhub.errors import HubError, InvalidRequest

if TYPE_CHECKING:
    from tokenhub.operations.config import Setting
    from tokenhub.operations.secrets import SecretState

app = noun("config")

Key = Annotated[str, typer.Argument(metavar="KEY", help="An option's key, such as server.port.")]

_SECRET_MAX: Final = 8192

_SECRETS: Final = {
    "stripe.secret_key": "Key of the Stripe account, sk_… or rk_…; its first use decides between test and live mode",
    "stripe.webhook_secret": "Signing secret of the webhook endpoint at Stripe, whsec_…",
    "stripe.webhook_secret_2": "A second one, while the first is being replaced",
    "smtp.password": "Password of smtp.user at the mail server",
    "notices.webhook_secret": "Signs what is posted to notices.webhook_url",
}

COLUMNS = (
    Column("key", "Key"),
    Column("value", "Value"),
    Column("origin", "From"),
    Column("help", "Meaning", spare=True),
)


def row(setting: "Setting") -> dict[str, Any]:
    """Return a setting as it is shown; a database's password is left out."""
    option = setting.option
    return {
        "key": option.key,
        "value": setting.shown if option.type is str else setting.value,
        "origin": setting.origin,
        "default": option.default,
        "environment": option.environment,
        "help": option.help,
    }


def _text(value: Any) -> str:
    """Return a value as it is typed."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def secret_row(name: str, hint: str | None) -> dict[str, Any]:
    """Return a secret as it is shown: at most its last characters. ``hint`` None: it is not set."""
    return {
        "key": name,
        "value": "" if hint is None else f"…{hint}" if hint else "hidden",
        "origin": "not set" if hint is None else "vault",
        "default": "",
        "environment": None,
        "help": _SECRETS[name],
    }


@command(app, "list", examples=["tokenhub config list"])
def list_(door: Door) -> None:
    """List every option with its value, and where that comes from; of secrets, only whether and how they end."""
    from tokenhub.operations import config

    rows = [row(setting) for setting in config.listing(door.home)]
    rows += _secret_rows(door)
    if not door.as_json:
        rows = [one | {"value": _text(one["value"])} for one in rows]
    door.rows(rows, COLUMNS, empty="There is no option.")


def _secret_rows(door: Door) -> list[dict[str, Any]]:
    """Return the rows of all secrets; none in a home that cannot be opened, whose settings can be mended all the same."""
    from tokenhub.operations import secrets

    try:
        kept = {one.name: one.hint for one in secrets.listing(door.hub)}
    except HubError:
        return []
    return [secret_row(name, kept.get(name)) for name in _SECRETS]


@command(app, examples=["tokenhub config get server.port", "tokenhub config get stripe.secret_key"])
def get(door: Door, key: Key) -> None:
    """Print the value of one option; of a secret, how it ends."""
    from tokenhub.operations import config

    shown = _secret(door, key) if key in _SECRETS else row(config.show(door.home, key))
    if door.as_json:
        door.record(shown, COLUMNS)
    else:
        render.print_line(render.inert(_text(shown["value"])))


def _secret(door: Door, name: str) -> dict[str, Any]:
    from tokenhub.operations import secrets

    return secret_row(name, next((one.hint for one in secrets.listing(door.hub) if one.name == name), None))


@command(
    app,
    "set",
    examples=[
        "tokenhub config set server.port 9000",
        "tokenhub config set routing.failover false",
        "tokenhub config set stripe.secret_key",
        "pass show stripe | tokenhub config set stripe.secret_key",
    ],
)
def set_(
    door: Door,
    key: Key,
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="VALUE", help="Its new value. A secret is asked for unseen, or read from stdin.", show_default=False
        ),
    ] = None,
) -> None:
    """Write an option to config.toml, or seal a secret into the database.

    A running gateway keeps the settings it started with; a secret binds at once.
    """
    from tokenhub.operations import config, secrets

    if key in _SECRETS:
        _refuse_argument(key, value)
        _tell_kept(door, secrets.set(door.hub, key, _read_secret(door, key)))
    elif value is None:
        raise InvalidRequest(f"{key[:60]} needs a value: tokenhub config set KEY VALUE")
    else:
        _tell(door, config.change(door.home, key, value))


def _refuse_argument(key: str, value: str | None) -> None:
    if value is not None:
        raise InvalidRequest(
            f"{key} is a secret: on a command line others can read it, and the shell remembers it. Change it where it "
            f"came from if it is real, then give it on stdin, or type it unseen: tokenhub config set {key}"
        )


def _read_secret(door: Door, key: str) -> str:
    """Return a secret from stdin, or typed unseen where stdin is a terminal."""
    if door.can_ask():
        return door.ask_unseen(key)
    secret = "" if sys.stdin.isatty() else sys.stdin.read(_SECRET_MAX).strip()
    if not secret:
        raise InvalidRequest(f'{key} is read from stdin, and nothing came: echo "$SECRET" | tokenhub config set {key}')
    return secret


@command(app, examples=["tokenhub config reset server.port", "tokenhub config reset stripe.webhook_secret_2"])
def reset(door: Door, key: Key) -> None:
    """Take an option out of config.toml, so that its default holds again; forget a secret."""
    from tokenhub.operations import config, secrets

    if key in _SECRETS:
        secrets.remove(door.hub, key)
        door.done(secret_row(key, None), f"{key} is forgotten.")
    else:
        _tell(door, config.reset(door.home, key))


def _tell(door: Door, setting: "Setting") -> None:
    messages = [f"{setting.option.key} is {setting.shown or 'empty'} from the next start of the gateway on."]
    if setting.origin == "environment":
        messages.append(f"{setting.option.environment} in the environment wins over the file.")
    door.done(row(setting), *messages)


def _tell_kept(door: Door, kept: "SecretState") -> None:
    ending = f"; it ends in …{kept.hint}" if kept.hint else ""
    door.done(secret_row(kept.name, kept.hint), f"{kept.name} is kept, sealed{ending}.")
