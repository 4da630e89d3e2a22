"""``tokenhub chat``: a question to a model, through the running gateway, as any client would ask it."""

import http.client
import json
import os
import socket
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from tokenhub import settings
from tokenhub.cli import render, values
from tokenhub.cli.context import Door, command, verb
from tokenhub.errors import HubError, InvalidRequest

app = verb("chat")

KEY_VARIABLE = "TOKENHUB_API_KEY"
_TIMEOUT_S = 300.0
_LINE_MAX = 1_000_000
_EVENTS = "text/event-stream"


@command(
    app,
    "chat",
    examples=[
        "tokenhub chat 'Why is the sky blue?'",
        "tokenhub chat 'Name three rivers.' --model gpt-4o-mini",
        "git diff | tokenhub chat 'Review this:' --stdin",
    ],
)
def chat(
    door: Door,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to ask.")],
    model: Annotated[str | None, typer.Option("--model", metavar="M", help="Else the cheapest chat model that can be called.", show_default=False)] = None,
    max_tokens: Annotated[Any, typer.Option("--max-tokens", metavar="N", parser=values.whole(1), help="The longest answer.", show_default=False)] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Put what comes on stdin behind the question.")] = False,
    address: Annotated[
        str | None, typer.Option("--address", metavar="HOST:PORT", help="A gateway elsewhere. Else the one of the settings.", show_default=False)
    ] = None,
) -> None:  # fmt: skip
    """Ask a model something and show the answer as it comes, then what it cost.

    The key is taken from TOKENHUB_API_KEY; on a terminal it is asked for when that is not set.
    """
    question = f"{text}\n\n{sys.stdin.read()}" if stdin else text
    if not question.strip():
        raise InvalidRequest("There is nothing to ask: TEXT is empty. Nothing was sent.", param="text")
    key = _key(door)
    host, port = _address(door, address)
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        body = _body(model or _first_model(connection, key), question, max_tokens)
        _show(door, _events(connection, key, body))
    except (ConnectionError, socket.gaierror, UnicodeError) as error:
        raise HubError(
            f"No gateway answers on {host}:{port} ({_reason(error)}). Start it: tokenhub serve; or name another: --address HOST:PORT"
        ) from None
    except (TimeoutError, http.client.HTTPException) as error:
        raise HubError(f"The gateway on {host}:{port} broke off ({_reason(error)}).") from None
    except _Stranger:
        raise HubError(
            f"What answers on {host}:{port} is no TokenHub gateway. Name another: --address HOST:PORT"
        ) from None
    finally:
        connection.close()


class _Stranger(Exception):
    """What answered did not answer as a gateway does."""


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _key(door: Door) -> str:
    from tokenhub.accounts import keys

    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and door.can_ask():
        key = door.ask_unseen("Key, th-…")
    if keys.is_well_formed(key):
        return key
    if key:
        raise InvalidRequest(
            "The key that was given is none of TokenHub's: those are th- and 43 letters and digits. "
            f"See what {KEY_VARIABLE} holds, or make a key with: tokenhub keys create"
        )
    raise InvalidRequest(
        f"Put a key into the environment: export {KEY_VARIABLE}=th-…; make one with: tokenhub keys create"
    )


def _address(door: Door, address: str | None) -> tuple[str, int]:
    if address is not None:
        host, separator, port = address.removeprefix("http://").removesuffix("/").rpartition(":")
        if not (separator and host and "/" not in host and port.isascii() and port.isdigit() and int(port) < 65536):
            raise InvalidRequest("--address is not of the form HOST:PORT.", param="address")
        return _host(host.strip("[]"), "--address"), int(port)
    chosen = settings.load(door.home)
    return _host(settings.called_at(chosen.server_host), "server.host"), chosen.server_port


def _host(host: str, origin: str) -> str:
    from tokenhub.operations import forms

    try:
        forms.host(host)
    except ValueError as error:
        raise InvalidRequest(f"{origin} {error}.", param=origin) from None
    return host


def _first_model(connection: http.client.HTTPConnection, key: str) -> str:
    """Return the cheapest chat model that this key may call."""
    from tokenhub.accounts import keys

    connection.request("GET", "/v1/models", headers=_headers(key))
    response = connection.getresponse()
    models = _checked(response, response.read()).get("data")
    if not isinstance(models, list) or not all(isinstance(one, dict) and "capability" in one for one in models):
        raise _Stranger
    chats = [one for one in models if one["capability"] == "chat" and one["lifecycle"] != "retired"]
    if not chats:
        raise InvalidRequest(
            "This key can call no chat model. Either no provider has a key yet: tokenhub credentials add PROVIDER; "
            f"or rules leave all out: tokenhub routing show --key {keys.shown_prefix(key)}"
        )
    return str(min(chats, key=lambda one: (float(one["pricing"]["completion"]), one["id"]))["id"])


def _body(model: str, question: str, max_tokens: int | None) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return body if max_tokens is None else {**body, "max_tokens": max_tokens}


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}


def _events(connection: http.client.HTTPConnection, key: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send the question and return the chunks of the answer as they come."""
    connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), _headers(key))
    response = connection.getresponse()
    if response.status != 200:
        _checked(response, response.read())
    if response.getheader("Content-Type", "").partition(";")[0] != _EVENTS:
        raise _Stranger
    while line := response.readline(_LINE_MAX):
        data = line.strip().removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
        if data and data != b"[DONE]":
            yield json.loads(data)


def _checked(response: http.client.HTTPResponse, raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a reply; an error is shown in the gateway's words and ends the command."""
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    body: dict[str, Any] = found if isinstance(found, dict) else {}
    if response.status != 200:
        error = body.get("error")
        _fail(error if isinstance(error, dict) and error else {"message": f"HTTP {response.status}"}, response.status)
    return body


def _fail(error: dict[str, Any], status: int = 200) -> None:
    """Show an error in the gateway's words, with commands in the place of what only HTTP has, and where more is told of it."""
    code = f" ({error['code']})" if error.get("code") else ""
    words = str(error.get("message", "The gateway reported an error."))
    show = f"tokenhub requests show {error.get('request_id', 'ID')}"
    words = render.in_commands(words).replace("metadata.excluded has", f"{show} has")
    words += _amounts(error)
    more = f" See: {show}" if "request_id" in error and _is_kept(status) and show not in words else ""
    raise HubError(f"{words}{code}{more}")


def _amounts(error: dict[str, Any]) -> str:
    """Return how much is wanting where a refusal tells of it."""
    told = error.get("metadata")
    if not isinstance(told, dict) or not {"required", "available"} <= told.keys():
        return ""
    return f" It needs up to {told['required']} USD, and {told['available']} USD are left."


def _is_kept(status: int) -> bool:
    """Tell whether a request that ended like this can be looked up; of one that was refused at the door nothing is kept."""
    return status in (200, 402, 429) or status >= 500


def _show(door: Door, events: Iterator[dict[str, Any]]) -> None:
    """Write text as it comes, then a line of what it cost on stderr; with --json one object at the end."""
    parts: list[str] = []
    last: dict[str, Any] = {}
    for event in events:
        if "error" in event:
            _end_line(parts)
            _fail(event["error"])
        last = {**last, **{name: event[name] for name in ("id", "model", "usage") if event.get(name)}}
        for choice in event.get("choices", ()):
            text = choice.get("delta", {}).get("content") or ""
            parts.append(text)
            if not door.as_json:
                render.print_text(text)
    if door.as_json:
        render.print_line(render.as_json({"text": "".join(parts), **last}))
        return
    _end_line(parts)
    usage = last.get("usage", {})
    render.say(
        f"[{last.get('model', '?')}: {usage.get('prompt_tokens', 0)} + {usage.get('completion_tokens', 0)} tokens, {_cost(usage)}]"
    )


def _end_line(parts: list[str]) -> None:
    if parts and not "".join(parts).endswith("\n"):
        render.print_line("")


def _cost(usage: dict[str, Any]) -> str:
    total = (usage.get("cost_details") or {}).get("total")
    return "cost not told" if total is None else f"{total} USD"
