"""``tokenhub serve``: run the gateway. Only options are read here; ``proxy/supervisor.py`` does the rest."""

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub.cli import render, values
from tokenhub.cli.context import Door, command, verb

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
        for warning in hub.warnings():
            render.say(f"Warning: {warning}")
        code = supervisor.run(hub, lambda address: _welcome(door, hub, address))
    raise typer.Exit(code)


def _welcome(door: Door, hub: "Hub", address: str) -> None:
    """Say where requests are taken; the first time also with which key, and how to try it."""
    from tokenhub.operations import credentials, first_run

    made, model = first_run.first_key(hub), first_run.model_to_try(hub)
    if door.as_json:
        render.print_line(
            render.as_json({"address": address, "key": made.secret if made else None, "model": model}, indent=None)
        )
        return
    render.say(f"TokenHub serves on {address}")
    if made is not None:
        render.say(f"Your first key, of account {first_run.ACCOUNT!r}, shown only now:")
        render.print_line(made.secret)
    if model is None:
        render.say("No model can be called yet. Add a provider's key: tokenhub credentials add openai")
    elif made is not None:
        render.say("Try it:")
        render.print_line(curl(address, made.secret, model))
    for one in credentials.found_in_environment(hub, os.environ):
        render.say(f"{one.variable} is in the environment and not used. To use it: tokenhub credentials import")


def curl(address: str, key: str, model: str) -> str:
    """Return a command line that asks a model something."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Say hello."}]})
    return f"curl {address}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{body}'"
