"""``tokenhub serve``: run the gateway. Only options are read here; ``proxy/supervisor.py`` does the rest."""

import json
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub.cli import render, values
from tokenhub.cli.chat import KEY_VARIABLE
from tokenhub.cli.context import Door, command, verb
from tokenhub.errors import SetupError

if TYPE_CHECKING:
    from tokenhub.operations.hub import Hub

app = verb("serve")


@command(
    app,
    "serve",
    examples=["tokenhub serve", "tokenhub serve --host 0.0.0.0 --port 9000 --workers 4", "tokenhub serve --no-local"],
)
def serve(
    door: Door,
    host: Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on. Else server.host: 127.0.0.1.", show_default=False)] = None,
    port: Annotated[
        Any, typer.Option("--port", metavar="N", parser=values.whole(0, 65535), help="Port; 0 takes a free one. Else server.port: 8080.", show_default=False)
    ] = None,
    workers: Annotated[
        Any, typer.Option("--workers", metavar="N", parser=values.whole(1, 64), help="Processes that serve. Else server.workers: 1.", show_default=False)
    ] = None,
    local: Annotated[
        bool | None, typer.Option("--local/--no-local", help="Run the embedded model beside the gateway, or not. Else local.enabled.", show_default=False)
    ] = None,
) -> None:  # fmt: skip
    """Run the gateway until Ctrl-C or SIGTERM.

    The first run in the default home makes everything that is needed, an account and a key included.
    """
    from tokenhub.operations.hub import Hub
    from tokenhub.proxy import supervisor

    flags = {"server.host": host, "server.port": port, "server.workers": workers, "local.enabled": local}
    with Hub.open_or_init(door.home, flags) as hub:
        _check_host(hub.settings.server_host)
        for warning in hub.warnings():
            door.say(f"Warning: {warning}")
        code = supervisor.run(hub, lambda address, local: _welcome(door, hub, address, local=local))
    raise typer.Exit(code)


def _check_host(host: str) -> None:
    """Refuse an address that this machine does not have, on any port: another port would not help."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise SetupError(
            f"cannot listen on {host!r}: it is no address of this machine ({getattr(error, 'strerror', None) or error}). "
            "Choose another with --host, such as 127.0.0.1, or 0.0.0.0 for every interface"
        ) from None


def _welcome(door: Door, hub: "Hub", address: str, *, local: bool) -> None:
    """Say where requests are taken and what can be called; the first time also with which key, and how to try it."""
    from tokenhub.operations import accounts, credentials, first_run

    made, model = first_run.first_key(hub), first_run.model_to_try(hub, local=local)
    if door.as_json:
        render.print_line(
            render.as_json({"address": address, "key": made.secret if made else None, "model": model}, indent=None)
        )
        return
    door.say(f"TokenHub serves on {address}")
    if hub.is_new:
        door.say(f"Its data are in {hub.home.path}. Keep a copy of master.key: nothing else opens stored keys.")
    providers = credentials.providers(hub, local=local)
    if model is None:
        door.say(f"{_callable(providers)} Add a provider's key: tokenhub credentials add openai")
    else:
        door.say(f"{_callable(providers)} Another provider: tokenhub credentials add PROVIDER")
    for one in credentials.found_in_environment(hub, os.environ):
        door.say(f"{one.variable} is in the environment and not used. To use it: tokenhub credentials import")
    if made is not None:
        door.say(f"Account {first_run.ACCOUNT!r} is there. What costs something needs credit: tokenhub grant 10")
        door.say("Its first key, shown only now, and a request to try in another terminal:")
        render.print_line(f"export {KEY_VARIABLE}={made.secret}")
        if model is not None:
            render.print_line(curl(address, model))
    elif not accounts.listing(hub):
        door.say("There is no account yet. Create one: tokenhub accounts create NAME; tokenhub keys create")


def _callable(providers: Sequence[str]) -> str:
    return f"Requests can go to: {', '.join(providers)}." if providers else "No model can be called yet."


def curl(address: str, model: str) -> str:
    """Return a command, to be pasted, that asks a model something with the key in the environment."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is the capital of France?"}]})
    return (
        f"curl {address}/v1/chat/completions \\\n"
        f'    -H "Authorization: Bearer ${KEY_VARIABLE}" -H "Content-Type: application/json" \\\n'
        f"    -d '{body}'"
    )
