"""Another master key: what the old one sealed is sealed anew, or given up where the old one is lost.

The new key is on disk before the database knows it, and in its place after: a crash in between
leaves both files, and :meth:`Hub.open` takes the one that the database was sealed with.
"""

import os
import secrets
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenhub import failpoints
from tokenhub.errors import Conflict, InvalidRequest, SetupError
from tokenhub.operations import gateways, models
from tokenhub.operations.hub import REKEY, Flags, Hub
from tokenhub.paths import Home, expanded, write_private
from tokenhub.store import catalog, revision
from tokenhub.store import secrets as secret_rows
from tokenhub.store.catalog import CredentialState
from tokenhub.store.vault import ENVIRONMENT, KEY_BYTES, Vault, encoded, load_master_key, read_master_key

NO_SECRET: Final = "sealed with a master key that was lost"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Replaced:
    """What became of what the old key had sealed."""

    credentials: int
    """Sealed anew."""
    secrets: int
    lost_credentials: Sequence[CredentialState]
    """To be given anew, with ``credentials rotate``."""
    lost_secrets: Sequence[str]
    """Names of settings to be given anew."""


def replace(home: Home, *, new_key: Path | None, lost: bool, flags: Flags | None = None) -> Replaced:
    """Give an installation another master key, made here or read from a file, while no gateway runs.

    ``lost``: the old one is not there, so providers' keys and the installation's own secrets are
    given up. Raises InvalidRequest, Conflict for a gateway that runs, SetupError.
    """
    if os.environ.get(ENVIRONMENT) and new_key is None:
        raise InvalidRequest(
            f"the master key is in {ENVIRONMENT}, which a command cannot change. Make another and name its file: --new FILE."
        )
    key = read_master_key(expanded(new_key), is_kept=False) if new_key else secrets.token_bytes(KEY_BYTES)
    vault = Vault(key)
    is_kept = not os.environ.get(ENVIRONMENT)
    with (
        Hub.open_without_key(home, vault, flags) if lost else Hub.open(home, flags) as hub,
        home.alone(REKEY) if is_kept else nullcontext(),
    ):
        with revision.change(hub.database):
            if not lost:
                revision.refuse_other_key(hub.database, hub.vault)
            elif _opens(home, hub):
                raise InvalidRequest(
                    "The master key is not lost: it opens what is stored here, and nothing needs to be given up. "
                    "Replace it with: tokenhub rekey"
                )
            if gateways.seen(hub).runs:
                raise Conflict("A gateway runs, which would go on with the old key. Stop it first.")
            if is_kept:
                write_private(home.next_master_key, encoded(key))
            failpoints.hit("rekey.kept")
            done = _given_up(hub, vault) if lost else _resealed(hub, vault)
            revision.set_key_check(hub.database, vault.check_value(hub.instance))
            revision.bump(hub.database, "installation")
            revision.bump(hub.database, "catalog")
        failpoints.hit("rekey.sealed")
        if is_kept:
            home.take_next_master_key()
    return done


def _opens(home: Home, hub: Hub) -> bool:
    """Tell whether the home's own key, or the environment's, is the one that the database was sealed with."""
    try:
        is_named = bool(os.environ.get(ENVIRONMENT))
        key = load_master_key(home) if is_named else read_master_key(home.master_key, is_kept=False)
    except SetupError:
        return False
    return Vault(key).knows(hub.instance, revision.key_check(hub.database))


def _resealed(hub: Hub, vault: Vault) -> Replaced:
    """Open each secret with the old key and seal it with the new one; one that does not open stops all of it."""
    states = catalog.credential_states(hub.database)
    for state in states:
        catalog.reseal(vault, catalog.credential(hub.database, hub.vault, state.id))
    names = [state.name for state in secret_rows.states(hub.database)]
    for name in names:
        value = secret_rows.get(hub.database, hub.vault, name)
        assert value is not None
        secret_rows.reseal(hub.database, vault, name, value)
    return Replaced(len(states), len(names), (), ())


def _given_up(hub: Hub, vault: Vault) -> Replaced:
    """Keep the rows of credentials, without their secrets and out of use; forget the installation's own secrets.

    A credential of a provider that needs no key, and that had none, works on.
    """
    known = models.catalog(hub.database).providers
    lost = []
    for state in catalog.credential_states(hub.database):
        needs_none = state.provider in known and known[state.provider].auth == "none"
        catalog.reseal(vault, state.closed())
        if state.has_secret or not needs_none:
            catalog.mark_credential(hub.database, state.id, catalog.FAILED, NO_SECRET)
            lost.append(state)
    names = [state.name for state in secret_rows.states(hub.database)]
    for name in names:
        secret_rows.delete(hub.database, name)
    return Replaced(0, 0, lost, names)
