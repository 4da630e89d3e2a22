"""The operator's part of the catalogue: overrides of the shipped data, and the hub's credentials.

Every change raises the catalogue's version and the revision, so that every process plans
its next request anew. Secrets are sealed for their row: id, provider, region and base URL
are bound in, so a sealed secret that is moved to another row, or whose row is pointed at
another host, no longer opens (T43).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Credential
from tokenhub.store import revision
from tokenhub.store.database import Database
from tokenhub.store.schema.upstreams import CredentialRow, OverrideRow
from tokenhub.store.vault import SEALED_EMPTY_BYTES, Vault

ACTIVE: Final = "active"
DISABLED: Final = "disabled"
FAILED: Final = "failed"
NO_KEY: Final = "no key"
"""The label of a credential of a provider that takes no key, until it is given one."""

_COLUMNS: Final = "id, provider, region, label, base_url, insecure_http, hint, status, status_reason, weight, created_at, data_policy, length(sealed)"
_OPENED: Final = "id, provider, region, label, base_url, weight, data_policy, sealed"
_HINT_LENGTH: Final = 4
_HINT_WORTH: Final = 20
"""A secret shorter than this shows nothing of itself: four characters would be too much of it."""


@dataclass(frozen=True, slots=True)
class CredentialState:
    """A credential as people see it: never the secret."""

    id: int
    provider: str
    region: str
    label: str
    base_url: str | None
    insecure_http: bool
    hint: str
    """The last four characters of the secret."""
    status: str
    status_reason: str
    weight: int
    created_at_ms: int
    data_policy: str | None
    """What the operator's own agreement with the provider says; None: what the provider states."""
    has_secret: bool

    def closed(self) -> Credential:
        """Return it as the catalogue knows it, without its secret: for lists, where nothing is called."""
        return Credential(
            self.id, self.provider, self.region, self.label, "", self.base_url, self.weight, self.data_policy
        )


# --- overrides ------------------------------------------------------------------------------------------------


def overrides(database: Database) -> list[Override]:
    """Return what the operator adds to or changes in the shipped catalogue."""
    rows = database.rows("SELECT kind, name, data FROM catalog_overrides ORDER BY kind, name")
    return [Override(kind, name, json.loads(data)) for kind, name, data in rows]


def put_override(database: Database, override: Override, now_ms: int) -> None:
    """Add an override, or replace the one of the same kind and name."""
    _delete_override(override.kind, override.name)
    data = json.dumps(override.data, ensure_ascii=True, separators=(",", ":"))
    OverrideRow.insert(kind=override.kind, name=override.name, data=data, created_at=now_ms).execute()
    revision.bump(database, "catalog")


def delete_override(database: Database, kind: str, name: str) -> bool:
    """Take an override back; False when there was none."""
    deleted = _delete_override(kind, name)
    if deleted:
        revision.bump(database, "catalog")
    return deleted > 0


def _delete_override(kind: str, name: str) -> int:
    return int(OverrideRow.delete().where((OverrideRow.kind == kind) & (OverrideRow.name == name)).execute())


# --- credentials ----------------------------------------------------------------------------------------------


def credentials(database: Database, vault: Vault) -> list[Credential]:
    """Return the active credentials, opened; raises SetupError when one does not open with this master key."""
    rows = database.rows(
        f"SELECT {_OPENED} FROM credentials WHERE status = ? ORDER BY id",
        (ACTIVE,),
    )
    return [_opened(vault, row) for row in rows]


def credential(database: Database, vault: Vault, credential_id: int) -> Credential:
    """Return one credential, opened, whatever its status."""
    row = database.row(f"SELECT {_OPENED} FROM credentials WHERE id = ?", (credential_id,))
    if row is None:
        raise LookupError(f"credential {credential_id}")
    return _opened(vault, row)


def _opened(vault: Vault, row: Sequence[Any]) -> Credential:
    credential_id, provider, region, label, base_url, weight, data_policy, sealed = row
    secret = vault.open(bytes(sealed), _binding(credential_id, provider, region, base_url))
    return Credential(credential_id, provider, region, label, secret, base_url, weight, data_policy)


def credential_states(database: Database) -> list[CredentialState]:
    """Return every credential, the oldest first."""
    return [_state(row) for row in database.rows(f"SELECT {_COLUMNS} FROM credentials ORDER BY id")]


def credential_state(database: Database, credential_id: int) -> CredentialState | None:
    """Return one credential."""
    row = database.row(f"SELECT {_COLUMNS} FROM credentials WHERE id = ?", (credential_id,))
    return None if row is None else _state(row)


def _state(row: Sequence[Any]) -> CredentialState:
    credential_id, provider, region, label, base_url, insecure_http, *rest, sealed_bytes = row
    rest.append(sealed_bytes > SEALED_EMPTY_BYTES)
    return CredentialState(credential_id, provider, region, label, base_url, bool(insecure_http), *rest)


def insert_credential(database: Database, vault: Vault, new: Credential, *, insecure_http: bool, now_ms: int) -> int:
    """Add a credential and return its id; the id of ``new`` is not used."""
    revision.refuse_other_key(database, vault)
    credential_id = int(
        CredentialRow.insert(
            provider=new.provider,
            region=new.region,
            label=new.label,
            base_url=new.base_url,
            insecure_http=int(insecure_http),
            sealed=b"",
            weight=new.weight,
            data_policy=new.data_policy,
            created_at=now_ms,
        ).execute()
    )
    _seal(vault, credential_id, new)
    revision.bump(database, "catalog")
    return credential_id


def replace_secret(database: Database, vault: Vault, state: CredentialState, secret: str) -> None:
    """Put a new secret in the place of a credential's old one; it is active again."""
    revision.refuse_other_key(database, vault)
    _seal(vault, state.id, Credential(state.id, state.provider, state.region, state.label, secret, state.base_url))
    label = "" if state.label == NO_KEY else state.label
    _update(state.id, status=ACTIVE, status_reason="", label=label)
    revision.bump(database, "catalog")


def reseal(vault: Vault, credential: Credential) -> None:
    """Seal a credential's secret with another master key, inside the caller's write; its hint and its status stay."""
    binding = _binding(credential.id, credential.provider, credential.region, credential.base_url)
    _update(credential.id, sealed=vault.seal(credential.secret, binding))


def _seal(vault: Vault, credential_id: int, new: Credential) -> None:
    sealed = vault.seal(new.secret, _binding(credential_id, new.provider, new.region, new.base_url))
    _update(credential_id, sealed=sealed, hint=new.secret[-_HINT_LENGTH:] if len(new.secret) >= _HINT_WORTH else "")


def _binding(credential_id: int, provider: str, region: str, base_url: str | None) -> bytes:
    return json.dumps(["credential", credential_id, provider, region, base_url or ""]).encode("ascii")


def mark_credential(database: Database, credential_id: int, status: str, reason: str = "") -> bool:
    """Set a credential's status; False when nothing changed.

    A credential that the operator has disabled is not set to failed: what the operator
    decided stays.
    """
    with database.write():
        changed = database.execute(
            "UPDATE credentials SET status = ?, status_reason = ? WHERE id = ? AND status NOT IN (?, ?)",
            (status, reason[:200], credential_id, status, DISABLED if status == FAILED else status),
        ).rowcount
        if changed:
            revision.bump(database, "catalog")
        return bool(changed)


def set_data_policy(database: Database, credential_id: int, policy: str | None) -> None:
    """State what the operator's own agreement says of a credential; None takes the statement back."""
    _update(credential_id, data_policy=policy)
    revision.bump(database, "catalog")


def delete_credential(database: Database, credential_id: int) -> None:
    """Remove a credential with its secret."""
    CredentialRow.delete().where(CredentialRow.id == credential_id).execute()
    revision.bump(database, "catalog")


def _update(credential_id: int, **columns: Any) -> None:
    CredentialRow.update(**columns).where(CredentialRow.id == credential_id).execute()
