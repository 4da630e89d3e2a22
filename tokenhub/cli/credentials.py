"""``tokenhub credentials``: the hub's own keys at the providers. A secret never stands on a command line (T121)."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock
from tokenhub.catalog.data_policy import STATEMENTS
from tokenhub.cli import render, values
from tokenhub.cli.context import FAILED, Door, Yes, command, noun
from tokenhub.cli.tables import Column
from tokenhub.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenhub.catalog.data_policy import DataPolicy
    from tokenhub.operations.credentials import CredentialState
    from tokenhub.operations.probe import Probe

app = noun("credentials")

Id = Annotated[
    Any,
    typer.Argument(
        metavar="ID", parser=values.whole(1), help="The credential's number in 'tokenhub credentials list'."
    ),
]
SecretStdin = Annotated[bool, typer.Option("--secret-stdin", help="Read the key from stdin instead of asking for it.")]
SecretEnv = Annotated[
    str | None,
    typer.Option(
        "--secret-env", metavar="VARIABLE", help="Read the key from this environment variable.", show_default=False
    ),
]

_SECRET_MAX = 8192
_STATED = "stated"
"""Takes the operator's own word back: what the provider states holds."""

COLUMNS = (
    Column("id", "Id", right=True),
    Column("provider", "Provider"),
    Column("region", "Region", spare=True),
    Column("label", "Label", spare=True),
    Column("secret", "Key"),
    Column("status", "Status"),
    Column("status_reason", "Why"),
    Column("weight", "Weight", right=True, spare=True),
    Column("data_policy", "Data policy", spare=True),
    Column("data_policy_by", "Stated by", spare=True),
    Column("base_url", "Base URL", spare=True),
)


def rows(door: Door, states: "Sequence[CredentialState]") -> list[dict[str, Any]]:
    """Return credentials as they are shown."""
    from tokenhub.operations import credentials

    policies = credentials.data_policies(door.hub, states)
    return [_row(state, policies.get(state.id)) for state in states]


def row(door: Door, state: "CredentialState") -> dict[str, Any]:
    """Return one credential as it is shown."""
    return rows(door, [state])[0]


def _row(state: "CredentialState", policy: "DataPolicy | None") -> dict[str, Any]:
    """Return a credential as it is shown: four characters of the secret at most."""
    return {
        "id": state.id,
        "provider": state.provider,
        "region": state.region,
        "label": state.label,
        "secret": f"…{state.hint}" if state.hint else "hidden" if state.has_secret else "none",
        "status": state.status,
        "status_reason": state.status_reason,
        "weight": state.weight,
        "data_policy": policy.policy if policy else None,
        "data_policy_by": policy.by if policy else None,
        "base_url": state.base_url,
        "insecure_http": state.insecure_http,
        "created_at": clock.iso(state.created_at_ms),
    }


def read_secret(door: Door, what: str, *, from_stdin: bool, variable: str | None) -> str:
    """Return a secret from stdin, from an environment variable, or typed unseen on the terminal."""
    if variable is not None:
        if from_stdin:
            raise InvalidRequest("Give --secret-stdin or --secret-env, not both.")
        if variable not in os.environ:
            raise InvalidRequest(f"The environment has no variable {variable[:60]!r}.")
        return os.environ[variable].strip()
    if from_stdin:
        return sys.stdin.read(_SECRET_MAX).strip()
    if not door.can_ask():
        raise InvalidRequest(
            "There is no terminal to ask for the key on. Give --secret-stdin or --secret-env VARIABLE."
        )
    return door.ask_unseen(what)


def _next(door: Door, state: "CredentialState") -> str:
    """Say what to do with a new credential."""
    from tokenhub.operations import models

    if models.listing(door.hub, every=True, provider=state.provider):
        return f"Try it: tokenhub credentials test {state.id}"
    return f"Name what it can call: tokenhub models add NAME --provider {state.provider} --input USD --output USD"


@command(
    app,
    examples=[
        "tokenhub credentials add openai",
        "tokenhub credentials add alibaba --region ap-southeast-1 --secret-env DASHSCOPE_API_KEY",
        "pass show anthropic | tokenhub credentials add anthropic --secret-stdin --label main",
        "tokenhub credentials add vllm --base-url http://10.0.0.5:8000/v1 --insecure-http --data-policy no_retention",
    ],
)
def add(
    door: Door,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Its id in 'tokenhub providers list'.")],
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="R",
            help="The region the key belongs to, where the provider has several.",
            show_default=False,
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url", metavar="URL", help="Call this address instead of the region's usual one.", show_default=False
        ),
    ] = None,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Allow a base URL without TLS: key and prompts travel in the clear.")
    ] = False,
    label: Annotated[
        str, typer.Option("--label", metavar="TEXT", help="A note to recognise it by.", show_default=False)
    ] = "",
    weight: Annotated[
        Any,
        typer.Option(
            "--weight",
            metavar="N",
            parser=values.whole(1, 1000),
            help="Its share of the requests beside other credentials.",
        ),
    ] = "1",
    data_policy: Annotated[
        Any,
        typer.Option(
            "--data-policy",
            metavar="|".join(STATEMENTS),
            parser=values.one_of(*STATEMENTS),
            help="What your own agreement with the provider says of the data of requests. Else what it states holds.",
            show_default=False,
        ),
    ] = None,
    secret_stdin: SecretStdin = False,
    secret_env: SecretEnv = None,
) -> None:
    """Keep a provider's key, sealed. It is asked for unseen, or read from stdin or the environment."""
    from tokenhub.operations import credentials

    secret = ""
    if secret_stdin or secret_env or credentials.takes_secret(door.hub, provider):
        secret = read_secret(door, f"Key for {provider}", from_stdin=secret_stdin, variable=secret_env)
    new = credentials.NewCredential(provider, secret, region, base_url, insecure_http, label, weight, data_policy)
    state = credentials.add(door.hub, new)
    door.done(
        row(door, state),
        f"Credential {state.id} for {state.provider} in {state.region} is kept. {_next(door, state)}",
    )


@command(app, "list", examples=["tokenhub credentials list"])
def list_(door: Door) -> None:
    """List credentials; of a key only the last characters are shown."""
    from tokenhub.operations import credentials

    door.rows(
        rows(door, credentials.listing(door.hub)),
        COLUMNS,
        empty="There is no credential yet. Add one: tokenhub credentials add PROVIDER",
    )


@command(
    app,
    "set",
    examples=[
        "tokenhub credentials set 3 --data-policy no_retention",
        "tokenhub credentials set 3 --data-policy stated",
    ],
)
def set_(
    door: Door,
    id: Id,
    data_policy: Annotated[
        Any,
        typer.Option(
            "--data-policy",
            metavar="|".join((*STATEMENTS, _STATED)),
            parser=values.one_of(*STATEMENTS, _STATED),
            help="What your own agreement with the provider says of the data of requests; stated: what the provider states.",
        ),
    ],
) -> None:
    """Say what is agreed on for a credential: routing takes your word for it before the provider's public statement."""
    from tokenhub.operations import credentials

    state = credentials.set_data_policy(door.hub, id, None if data_policy == _STATED else data_policy)
    shown = row(door, state)
    said = "as you say" if shown["data_policy_by"] == "operator" else f"as {state.provider} states"
    if shown["data_policy_by"] == "nobody":
        said = "nothing is stated of it"
    door.done(shown, f"Data policy of credential {id}: {shown['data_policy']}, {said}. It binds the next request.")


@command(app, examples=["tokenhub credentials remove 3"])
def remove(door: Door, id: Id, yes: Yes = False) -> None:
    """Forget a credential and its key."""
    from tokenhub.operations import credentials

    found = credentials.find(door.hub, id)
    door.confirm(
        f"Remove credential {id} ({found.provider} in {found.region}, {found.label or 'without a label'})?", yes=yes
    )
    state = credentials.remove(door.hub, id)
    door.done(row(door, state), f"Credential {id} is removed.")


@command(app, examples=["tokenhub credentials disable 3"])
def disable(door: Door, id: Id) -> None:
    """Use a credential no more from now on; running replies end as they would."""
    _set_status(door, id, "disabled")


@command(app, examples=["tokenhub credentials enable 3"])
def enable(door: Door, id: Id) -> None:
    """Use a disabled or failed credential again."""
    _set_status(door, id, "active")


def _set_status(door: Door, credential_id: int, status: str) -> None:
    from tokenhub.operations import credentials

    state = credentials.set_status(door.hub, credential_id, status)
    door.done(row(door, state), f"Credential {state.id} is {state.status}.")


@command(app, examples=["tokenhub credentials rotate 3", "tokenhub credentials rotate 3 --secret-env OPENAI_API_KEY"])
def rotate(door: Door, id: Id, secret_stdin: SecretStdin = False, secret_env: SecretEnv = None) -> None:
    """Put a new key in the place of a credential's old one."""
    from tokenhub.operations import credentials

    found = credentials.find(door.hub, id)
    secret = read_secret(door, f"New key for {found.provider}", from_stdin=secret_stdin, variable=secret_env)
    state = credentials.rotate(door.hub, id, secret)
    door.done(row(door, state), f"Credential {id} has its new key. Try it: tokenhub credentials test {id}")


@command(app, "test", examples=["tokenhub credentials test", "tokenhub credentials test 3 --chat"])
def try_out(
    door: Door,
    id: Annotated[
        Any,
        typer.Argument(
            metavar="ID",
            parser=values.whole(1),
            help="The credential's number. Else every one is tried.",
            show_default=False,
        ),
    ] = None,
    chat: Annotated[
        bool,
        typer.Option("--chat", help="Ask the cheapest model something short, instead of for the free list of models."),
    ] = False,
) -> None:
    """Call a provider once with its credential, as cheaply as it goes. Exit code 1 when one is refused."""
    from tokenhub.operations import credentials, probe

    if id is not None:
        rows = [_probe_row(probe.probe(door.hub, id, chat=chat))]
    else:
        rows = [_tried(door, state.id, chat=chat) for state in credentials.listing(door.hub)]
    door.rows(rows, PROBE_COLUMNS, empty="There is no credential to test.")
    if any(row["ok"] is False for row in rows):
        raise typer.Exit(FAILED)


def _tried(door: Door, number: int, *, chat: bool) -> dict[str, Any]:
    """Return what a call with one of several credentials has shown; where there is nothing to ask, that."""
    from tokenhub.operations import probe

    try:
        return _probe_row(probe.probe(door.hub, number, chat=chat))
    except NotFound as error:
        door.say(f"Credential {number}: {error}")
        return dict.fromkeys(column.field for column in PROBE_COLUMNS) | {"id": number}


PROBE_COLUMNS = (
    Column("id", "Id", right=True),
    Column("ok", "Works"),
    Column("asked", "Asked for"),
    Column("status", "HTTP", right=True),
    Column("kind", "Fault"),
    Column("code", "Provider's code"),
    Column("latency_ms", "ms", right=True, spare=True),
)


def _probe_row(found: "Probe") -> dict[str, Any]:
    return {
        "id": found.credential_id,
        "ok": found.ok,
        "asked": found.asked,
        "status": found.status,
        "kind": found.kind,
        "code": found.code,
        "latency_ms": found.latency_ms,
    }


@command(app, "import", examples=["tokenhub credentials import", "tokenhub credentials import --yes"])
def import_(door: Door, yes: Yes = False) -> None:
    """Offer to keep the providers' keys that stand in this environment, such as OPENAI_API_KEY."""
    from tokenhub.operations import credentials

    found = credentials.found_in_environment(door.hub, os.environ)
    wanted = [
        one
        for one in found
        if door.agreed(f"Keep {one.variable} as a credential for {one.provider} in {one.region}?", yes=yes)
    ]
    states = credentials.import_found(door.hub, wanted)
    if door.as_json:
        render.print_line(render.as_json(rows(door, states)))
        return
    for state in states:
        door.say(f"Credential {state.id} for {state.provider} in {state.region} is kept. {_next(door, state)}")
    if not found:
        render.say("The environment holds no provider's key that is not kept yet.")
