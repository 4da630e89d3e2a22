"""Plans, accounts and keys: rows to core values and back.

Every change raises the row's version, so that a request planned before it is planned again,
and the installation's revision, so that other processes notice. Changes are made inside the
caller's ``database.write()``. The proxy's look-up is plain SQL: the ORM would cost more than
the rest of a request.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from tokenhub.accounts.accounts import Account, AccountStatus, ApiKey, Caller, KeyStatus, Plan, SpendPeriod
from tokenhub.store import preferences, revision
from tokenhub.store.database import Database
from tokenhub.store.schema.accounts import AccountRow, KeyRow, PlanRow

_KEY_COLUMNS: Final = (
    "id, account_id, version, name, prefix, status, expires_at, rpm, spend_limit, spend_period, models"
)
_ACCOUNT_COLUMNS: Final = "id, name, version, status, plan_id, email, fee_bp, key_rpm, account_rpm, concurrency"
_PLAN_COLUMNS: Final = "id, version, fee_bp, key_rpm, account_rpm, concurrency, model_names, support, sla, compliance"


def _qualified(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{column}" for column in columns.split(", "))


_CALLERS: Final = (
    f"SELECT k.digest, {_qualified('k', _KEY_COLUMNS)}, {_qualified('a', _ACCOUNT_COLUMNS)}, {_qualified('p', _PLAN_COLUMNS)}, "
    "rp.data, ra.data, rk.data FROM keys k JOIN accounts a ON a.id = k.account_id JOIN plans p ON p.id = a.plan_id "
    "LEFT JOIN preferences rp ON rp.scope = 'plan' AND rp.subject = p.id "
    "LEFT JOIN preferences ra ON ra.scope = 'account' AND ra.subject = CAST(a.id AS TEXT) "
    "LEFT JOIN preferences rk ON rk.scope = 'key' AND rk.subject = k.id WHERE k.digest IN ({})"
)
_KEY_END: Final = 1 + _KEY_COLUMNS.count(",") + 1
_ACCOUNT_END: Final = _KEY_END + _ACCOUNT_COLUMNS.count(",") + 1
_PLAN_END: Final = _ACCOUNT_END + _PLAN_COLUMNS.count(",") + 1


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account and what its row counts."""

    account: Account
    available_nano: int
    held_nano: int
    open_holds: int
    created_at_ms: int
    debt_nano: int
    low_balance_nano: int | None
    """A notice is sent when the balance falls below this; None: none."""
    active_keys: int


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key and what its row counts."""

    key: ApiKey
    created_at_ms: int
    revoked_at_ms: int | None
    replaced_by: str | None
    period_start_ms: int
    period_spent_nano: int
    period_held_nano: int


# --- the proxy's look-ups ------------------------------------------------------------------------------------


def callers(database: Database, digests: Sequence[bytes]) -> dict[bytes, Caller]:
    """Return who stands behind these key digests, in one query; unknown digests are left out.

    Revoked keys and disabled accounts are returned as they are: the one asking decides
    (T36). The list is padded to a power of two, so that few statements are ever prepared.
    """
    if not digests:
        return {}
    size = 1 << (len(digests) - 1).bit_length()
    padded = (*digests, *[digests[-1]] * (size - len(digests)))
    rows = database.rows(_callers_sql(size), padded)
    return {bytes(row[0]): _caller(row) for row in rows}


def caller_of_key(database: Database, key_id: str) -> Caller | None:
    """Return who stands behind a key, by its id."""
    row = database.row("SELECT digest FROM keys WHERE id = ?", (key_id,))
    return None if row is None else callers(database, [bytes(row[0])]).get(bytes(row[0]))


@lru_cache(maxsize=32)
def _callers_sql(size: int) -> str:
    return _CALLERS.format(", ".join("?" * size))


def versions(database: Database) -> tuple[int, int, int]:
    """Return the installation's version, the catalogue's version and the revision."""
    current = revision.read(database)
    return current.installation, current.catalog, current.revision


def _caller(row: Sequence[Any]) -> Caller:
    key, account = _key(row[1:_KEY_END]), _account(row[_KEY_END:_ACCOUNT_END])
    plan = _plan(row[_ACCOUNT_END:_PLAN_END])
    of_plan, of_account, of_key = row[_PLAN_END:]
    chain = preferences.chain(
        ("plan", plan.id, of_plan), ("account", str(account.id), of_account), ("key", key.id, of_key)
    )
    return Caller(key, account, plan, chain)


def _key(row: Sequence[Any]) -> ApiKey:
    key_id, account_id, version, name, prefix, status, expires_at, rpm, spend_limit, period, models = row
    return ApiKey(
        key_id, account_id, version, name, prefix, KeyStatus(status), expires_at, rpm, spend_limit, SpendPeriod(period),
        _names(models),
    )  # fmt: skip


def _account(row: Sequence[Any]) -> Account:
    account_id, name, version, status, *rest = row
    return Account(account_id, name, version, AccountStatus(status), *rest)


def _plan(row: Sequence[Any]) -> Plan:
    plan_id, version, fee_bp, key_rpm, account_rpm, concurrency, model_names, *promises = row
    return Plan(plan_id, version, fee_bp, key_rpm, account_rpm, concurrency, _model_names(model_names), *promises)


@lru_cache(maxsize=1024)
def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(json.loads(text))


@lru_cache(maxsize=64)
def _model_names(text: str) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({name: tuple(targets) for name, targets in json.loads(text).items()})


# --- plans ----------------------------------------------------------------------------------------------------


def plans(database: Database) -> list[Plan]:
    """Return every plan, by name."""
    return [_plan(row) for row in database.rows(f"SELECT {_PLAN_COLUMNS} FROM plans ORDER BY id")]


def plan(database: Database, plan_id: str) -> Plan | None:
    """Return one plan."""
    row = database.row(f"SELECT {_PLAN_COLUMNS} FROM plans WHERE id = ?", (plan_id,))
    return None if row is None else _plan(row)


def plan_of(database: Database, account_id: int) -> Plan:
    """Return the plan of an account, which must exist."""
    sql = f"SELECT {_qualified('p', _PLAN_COLUMNS)} FROM plans p JOIN accounts a ON a.plan_id = p.id WHERE a.id = ?"
    row = database.row(sql, (account_id,))
    if row is None:
        raise LookupError(f"account {account_id}")
    return _plan(row)


def insert_plan(database: Database, plan: Plan) -> None:
    """Add a plan, at version 1."""
    PlanRow.insert(
        id=plan.id,
        fee_bp=plan.fee_bp,
        key_rpm=plan.key_rpm,
        account_rpm=plan.account_rpm,
        concurrency=plan.concurrency,
        model_names=_json(plan.model_names),
        support=plan.support,
        sla=plan.sla,
        compliance=plan.compliance,
    ).execute()
    revision.bump(database, None)


def change_plan(database: Database, plan_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns of a plan; binds every account on it with its next request."""
    columns = dict(changes)
    if "model_names" in columns:
        columns["model_names"] = _json(columns["model_names"])
    PlanRow.update(version=PlanRow.version + 1, **columns).where(PlanRow.id == plan_id).execute()
    revision.bump(database, None)


# --- accounts -------------------------------------------------------------------------------------------------

_ACCOUNT_STATES: Final = (
    f"SELECT {_qualified('a', _ACCOUNT_COLUMNS)}, a.available - "
    "(SELECT COALESCE(SUM(l.available), 0) FROM lots l WHERE l.account_id = a.id AND l.expires_at <= ?), "
    "a.held, a.open_holds, a.created_at, a.debt, a.low_balance, (SELECT COUNT(*) FROM keys k WHERE k.account_id = a.id "
    "AND k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > ?)) FROM accounts a"
)
_COUNTS: Final = 7


def account_states(database: Database, now_ms: int) -> list[AccountState]:
    """Return every account, the oldest first. Lots that are due but not yet expired by a write count no more."""
    return [_account_state(row) for row in database.rows(f"{_ACCOUNT_STATES} ORDER BY a.id", (now_ms, now_ms))]


def account_state(database: Database, account_id: int, now_ms: int) -> AccountState:
    """Return one account, which must exist."""
    row = database.row(f"{_ACCOUNT_STATES} WHERE a.id = ?", (now_ms, now_ms, account_id))
    if row is None:
        raise LookupError(f"account {account_id}")
    return _account_state(row)


def _account_state(row: Sequence[Any]) -> AccountState:
    account, counts = row[:-_COUNTS], row[-_COUNTS:]
    return AccountState(_account(account), *counts)


def account_named(database: Database, name: str) -> Account | None:
    """Return the account of this name."""
    row = database.row(f"SELECT {_ACCOUNT_COLUMNS} FROM accounts WHERE name = ?", (name,))
    return None if row is None else _account(row)


def account_by_id(database: Database, account_id: int) -> Account | None:
    """Return the account of this id."""
    row = database.row(f"SELECT {_ACCOUNT_COLUMNS} FROM accounts WHERE id = ?", (account_id,))
    return None if row is None else _account(row)


def names_by_id(database: Database) -> dict[str, str]:
    """Return every account's name by its id as a text, for reports."""
    return {str(account_id): name for account_id, name in database.rows("SELECT id, name FROM accounts")}


def account_names(database: Database, limit: int) -> list[str]:
    """Return the names of the oldest accounts."""
    return [name for (name,) in database.rows("SELECT name FROM accounts ORDER BY id LIMIT ?", (limit,))]


def insert_account(database: Database, name: str, plan_id: str, email: str | None, now_ms: int) -> int:
    """Add an account and return its id."""
    account_id = AccountRow.insert(name=name, plan=plan_id, email=email, created_at=now_ms).execute()
    revision.bump(database, None)
    return int(account_id)


def change_account(database: Database, account_id: int, changes: Mapping[str, Any]) -> None:
    """Change columns of an account; binds its next request in every process (T35, T45)."""
    columns = dict(changes)
    if "plan" in columns:
        columns["plan_id"] = columns.pop("plan")
    AccountRow.update(version=AccountRow.version + 1, **columns).where(AccountRow.id == account_id).execute()
    revision.bump(database, None)


# --- keys -----------------------------------------------------------------------------------------------------

_KEY_STATES: Final = (
    f"SELECT {_KEY_COLUMNS}, created_at, revoked_at, replaced_by, period_start, period_spent, period_held FROM keys"
)


def key_states(database: Database, account_id: int | None = None) -> list[KeyState]:
    """Return the keys of one account, or of all, the oldest first."""
    if account_id is None:
        rows = database.rows(f"{_KEY_STATES} ORDER BY created_at, id")
    else:
        rows = database.rows(f"{_KEY_STATES} WHERE account_id = ? ORDER BY created_at, id", (account_id,))
    return [_key_state(row) for row in rows]


def keys_starting(database: Database, start: str, limit: int) -> list[KeyState]:
    """Return keys whose id, or whose shown prefix, starts with a text of letters, digits, ``_`` and ``-``."""
    escaped = start.replace("_", "\\_")
    rows = database.rows(
        f"{_KEY_STATES} WHERE id LIKE ? ESCAPE '\\' OR prefix = ? ORDER BY created_at, id LIMIT ?",
        (f"{escaped}%", start, limit),
    )
    return [_key_state(row) for row in rows]


def _key_state(row: Sequence[Any]) -> KeyState:
    *key, created_at, revoked_at, replaced_by, period_start, period_spent, period_held = row
    return KeyState(_key(key), created_at, revoked_at, replaced_by, period_start, period_spent, period_held)


def insert_key(
    database: Database, key: ApiKey, digest: bytes, now_ms: int, *, replaces: KeyState | None = None
) -> None:
    """Add a key. One that replaces another takes over its counters: from now on its row counts what both spend and hold."""
    KeyRow.insert(
        id=key.id,
        account=key.account_id,
        prefix=key.prefix,
        digest=digest,
        period_start=replaces.period_start_ms if replaces else 0,
        period_spent=replaces.period_spent_nano if replaces else 0,
        period_held=replaces.period_held_nano if replaces else 0,
        created_at=now_ms,
        **_terms(key),
    ).execute()
    if replaces:
        changes = {"replaced_by": key.id, "period_spent": 0, "period_held": 0}
        KeyRow.update(**changes).where(KeyRow.id == replaces.key.id).execute()
    revision.bump(database, None)


def change_terms(database: Database, key: ApiKey) -> None:
    """Change what a key may do. What its limit counts is not touched: see ``spend.recount``."""
    change_key(database, key.id, _terms(key))


def _terms(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "expires_at": key.expires_at_ms,
        "rpm": key.rpm,
        "spend_limit": key.spend_limit_nano,
        "spend_period": key.spend_period.value,
        "models": None if key.models is None else _json(key.models),
    }


def change_key(database: Database, key_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns of a key; binds its next request in every process (T35)."""
    KeyRow.update(version=KeyRow.version + 1, **changes).where(KeyRow.id == key_id).execute()
    revision.bump(database, None)


def _json(value: Mapping[str, Iterable[str]] | Iterable[str]) -> str:
    plain = {name: list(targets) for name, targets in value.items()} if isinstance(value, Mapping) else list(value)
    return json.dumps(plain, ensure_ascii=True, separators=(",", ":"))
