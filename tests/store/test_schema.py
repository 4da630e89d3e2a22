"""What the migrations build is what ``schema/`` says, and it refuses what must never be stored."""

from collections import defaultdict
from typing import Any

import pytest

from tests.conftest import Databases
from tokenhub.store import postgres, schema
from tokenhub.store.database import Database, StoreRejected

ONLY_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ONLY_POSTGRES = pytest.mark.parametrize("backend", ["postgres"], indirect=True)
LARGEST = 2**62


@pytest.fixture
def account(database: Database) -> int:
    with database.write():
        schema.PlanRow.create(id="starter", fee_bp=300, key_rpm=60, account_rpm=600, concurrency=50)
        return int(schema.AccountRow.create(name="acme", plan="starter", created_at=0).id)


@pytest.fixture
def entry(database: Database, account: int) -> None:
    with database.write():
        database.execute(
            "INSERT INTO entries (account_id, kind, ref, amount, created_at) VALUES (?, 'grant', 'r', 5, 0)", (account,)
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET amount = 6",
        "UPDATE entries SET note = 'x'",
        "DELETE FROM entries",
    ],
)
def test_i2_journal_entries_are_never_changed_or_deleted(database: Database, entry: None, statement: str) -> None:
    with pytest.raises(StoreRejected, match="journal entries are never"), database.write():
        database.execute(statement)
    assert database.rows("SELECT amount, note FROM entries") == [(5, "")]


@ONLY_SQLITE
def test_i2_a_replacing_insert_does_not_change_the_journal(database: Database, entry: None) -> None:
    with pytest.raises(StoreRejected, match="journal entries are never"), database.write():
        database.execute(
            "INSERT OR REPLACE INTO entries (id, account_id, kind, ref, amount, created_at) VALUES (1, 1, 'grant', 'r', 9, 0)"
        )
    assert database.rows("SELECT amount FROM entries") == [(5,)]


@ONLY_POSTGRES
def test_i2_the_journal_cannot_be_truncated(database: Database, entry: None) -> None:
    with pytest.raises(StoreRejected, match="journal entries are never"), database.write():
        database.execute("TRUNCATE entries")
    assert database.rows("SELECT amount FROM entries") == [(5,)]


LOT = "INSERT INTO lots (account_id, kind, ref, granted, available, held, spent, created_at) VALUES (1, 'grant', 'r', ?, ?, ?, ?, 0)"


@pytest.mark.parametrize(
    "amounts",
    [
        (0, 0, 0, 0),
        (-5, -5, 0, 0),
        (10, 9, 0, 0),
        (10, 11, -1, 0),
        (LARGEST + 1, LARGEST + 1, 0, 0),
        (2**63, 2**63, 0, 0),
        (1.5, 1.5, 0, 0),
        ("ten", "ten", 0, 0),
    ],
)
def test_t16_a_lot_that_does_not_add_up_is_refused(database: Database, account: int, amounts: tuple[Any, ...]) -> None:
    with pytest.raises(StoreRejected), database.write():
        database.execute(LOT, amounts)
    with database.write():
        database.execute(LOT, (LARGEST, LARGEST - 3, 1, 2))


@pytest.mark.parametrize(
    "change", ["available + 4611686018427387904 + 4611686018427387904", "available - 4611686018427387905"]
)
def test_t16_a_balance_never_leaves_the_range_of_its_column(database: Database, account: int, change: str) -> None:
    with pytest.raises(StoreRejected), database.write():
        database.execute(f"UPDATE accounts SET available = {change}")
    assert database.row("SELECT available FROM accounts") == (0,)


@pytest.mark.parametrize("fees", [(1, 1, 3, 3), (-1, 1, 0, 3), (2, 1, 3, 2)])
def test_i4_a_charge_is_its_fees_and_at_most_the_hold(database: Database, fees: tuple[int, ...]) -> None:
    statement = (
        'INSERT INTO requests (id, account_id, key_id, "end", started_at, ended_at, model_fee, service_fee, charged, held) '
        "VALUES ('r', 1, 'k', 'settled', 0, 0, ?, ?, ?, ?)"
    )
    with pytest.raises(StoreRejected) as refused, database.write():
        database.execute(statement, fees)
    assert refused.value.reason == "check"
    with database.write():
        database.execute(statement, (2, 1, 3, 3))


def test_an_id_is_never_given_twice(database: Database) -> None:
    """What once named a row, such as a process's lock file, never names another."""
    insert = "INSERT INTO leases (host, boot_id, pid, started_at, renewed_at) VALUES ('h', 'b', 1, 0, 0) RETURNING id"
    with database.write():
        first = database.row(insert)
        database.execute("DELETE FROM leases")
        second = database.row(insert)
    assert (first, second) == ((1,), (2,))


@ONLY_SQLITE
def test_sqlite_tables_are_strict_and_have_the_columns_and_indexes_of_the_schema(database: Database) -> None:
    for model in schema.TABLES:
        table = model._meta.table_name
        # An INTEGER PRIMARY KEY called id is never NULL, although its column does not say so.
        columns = database.rows(f"SELECT name, type, \"notnull\" FROM pragma_table_info('{table}') ")
        expected = {
            (field.column_name, _sqlite_type(field), int(not field.null)) for field in model._meta.sorted_fields
        }
        assert {(name, kind, required or int(name == "id")) for name, kind, required in columns} == expected
        (kind,) = database.rows(f"SELECT strict, wr FROM pragma_table_list WHERE name = '{table}'")
        assert kind == (1, int(bool(model._meta.without_rowid)))
        assert _indexes(database, table) == _expected_indexes(model)


def _sqlite_type(field: Any) -> str:
    while hasattr(field, "rel_field"):
        field = field.rel_field
    return {"BIGINT": "INTEGER", "BIGAUTO": "INTEGER", "TEXT": "TEXT", "BLOB": "BLOB"}[field.field_type]


def _indexes(database: Database, table: str) -> set[tuple[str, bool]]:
    found = database.rows(f"SELECT name, \"unique\" FROM pragma_index_list('{table}') WHERE origin = 'c'")
    return {(name, bool(unique)) for name, unique in found}


def _expected_indexes(model: Any) -> set[tuple[str, bool]]:
    found = set()
    for index in model._meta.fields_to_index():
        found.add((index._name, bool(index._unique)))
    return found


@ONLY_POSTGRES
def test_migrations_build_what_the_schema_says(database: Database, databases: Databases) -> None:
    """Columns, types, constraints and indexes: the tables that peewee makes from ``schema/``, beside the migrated ones."""
    url = databases.empty()
    made = postgres.connect(url)
    made.execute_sql("SET default_transaction_read_only = off")
    try:
        with made.bind_ctx(schema.TABLES), pytest.MonkeyPatch.context() as patch:
            for model in schema.TABLES:  # words of SQLite alone
                patch.setattr(model._meta, "strict_tables", False)
                patch.setattr(model._meta, "without_rowid", False)
                model.create_table(safe=False)
        for question in (_COLUMNS, _CONSTRAINTS, _INDEXES):
            assert _answers(database.peewee, question) == _answers(made, question)
    finally:
        made.close()
        databases.drop(url)
        schema.proxy.initialize(database.peewee)


_OURS = ", ".join(f"'{model._meta.table_name}'" for model in schema.TABLES)
_COLUMNS = (
    "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
    f"WHERE table_schema = 'public' AND table_name IN ({_OURS})"
)
_CONSTRAINTS = f"SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid::regclass::text IN ({_OURS}) AND contype <> 'n'"
_INDEXES = f"SELECT tablename, indexdef FROM pg_indexes WHERE tablename IN ({_OURS})"


def _answers(backend: Any, question: str) -> dict[str, list[Any]]:
    found = defaultdict(list)
    for table, *rest in backend.execute_sql(question).fetchall():
        found[table].append(tuple(rest))
    return {table: sorted(rows) for table, rows in found.items()}


@ONLY_POSTGRES
def test_defaults_are_the_same_in_sql_and_in_the_schema(database: Database) -> None:
    """The hot path's SQL may leave columns out, as the models may."""
    found = database.rows(
        "SELECT table_name, column_name, column_default FROM information_schema.columns "
        f"WHERE table_name IN ({_OURS}) AND column_default IS NOT NULL AND column_default NOT LIKE 'nextval%%'"
    )
    in_sql = {(table, column): default.removesuffix("::text").strip("'") for table, column, default in found}
    in_schema = {
        (model._meta.table_name, field.column_name): str(field.default)
        for model in schema.TABLES
        for field in model._meta.sorted_fields
        if field.default is not None
    }
    assert in_sql == in_schema
