"""``tokenhub rekey``: set a new master key."""

from pathlib import Path
from typing import Annotated

import typer

from tokenhub.cli import render
from tokenhub.cli.context import Door, Yes, command, verb

app = verb("rekey")


@command(
    app,
    "rekey",
    examples=[
        "tokenhub rekey",
        "openssl rand -base64 32 > new.key && tokenhub rekey --new new.key",
        "tokenhub rekey --lost",
    ],
)
def rekey(
    door: Door,
    new: Annotated[
        Path | None,
        typer.Option("--new", metavar="FILE", help="Take the new key from here. Else one is made.", show_default=False),
    ] = None,
    lost: Annotated[
        bool,
        typer.Option(
            "--lost",
            help="The old key is gone: give up providers' keys and settings that are secret, and keep all else.",
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Set a new master key, and seal providers' keys and secret settings anew with it, while no gateway runs.

    Keys of customers, credit and books do not depend on it. Short links of top-ups that are open become
    invalid, sessions are bound anew. With --lost what the old key had sealed is given up.
    """
    from tokenhub.operations import master_key

    if lost:
        door.confirm("Give up all providers' keys and secret settings that are stored here?", yes=yes)
    done = master_key.replace(door.home, new_key=new, lost=lost)
    row = {
        "credentials_resealed": done.credentials,
        "secrets_resealed": done.secrets,
        "credentials_lost": [state.id for state in done.lost_credentials],
        "secrets_lost": list(done.lost_secrets),
    }
    messages = [f"The master key is a new one: keep a copy of {new or door.home.master_key} elsewhere."]
    if done.credentials or done.secrets:
        counted = (render.counted(done.credentials, "credential"), render.counted(done.secrets, "secret setting"))
        messages.append(f"Sealed anew: {counted[0]}, {counted[1]}.")
    messages += [
        f"{state.provider} ({state.region}) needs its key: tokenhub credentials rotate {state.id}"
        for state in done.lost_credentials
    ]
    messages += [f"Set again: tokenhub config set {name}" for name in done.lost_secrets]
    door.done(row, *messages, "Backups that were made before need the old key.")
