"""Set-based statements do the same on both back ends."""

import threading

import pytest

from tokenhub.store.bulk import MAX_KEYS, Bulk
from tokenhub.store.database import Database, StoreRejected

PLAN = ("starter", 300, 60, 600, 50)
PLAN_COLUMNS = ("id", "fee_bp", "key_rpm", "account_rpm", "concurrency")


@pytest.fixture
def bulk(database: Database) -> Bulk:
    made = Bulk(database)
    with database.write():
        made.insert("plans", PLAN_COLUMNS)([PLAN])
        rows = [(f"account {n}", "starter", n) for n in range(1, 1301)]
        made.insert("accounts", ("name", "plan_id", "created_at"))(rows)
    return made


def test_select_returns_the_asked_rows_in_order_of_the_primary_key(bulk: Bulk, database: Database) -> None:
    select = bulk.select("accounts", ("id", "name"), "id")
    assert select([3, 1, 2, 3, 9999]) == [(1, "account 1"), (2, "account 2"), (3, "account 3")]
    assert select([]) == []


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, MAX_KEYS, MAX_KEYS + 1, 1300])
def test_select_finds_every_row_whatever_the_number_of_keys(bulk: Bulk, size: int) -> None:
    found = bulk.select("accounts", ("id",), "id")(range(1, size + 1))
    assert found == [(number,) for number in range(1, size + 1)]


def test_select_by_another_key_with_a_condition(bulk: Bulk, database: Database) -> None:
    with database.write():
        insert = bulk.insert("lots", ("account_id", "kind", "ref", "granted", "available", "spent", "created_at"))
        insert([(2, "grant", "b", 10, 10, 0, 0), (1, "grant", "a", 5, 5, 0, 0), (1, "grant", "c", 7, 0, 7, 0)])
    select = bulk.select_few("lots", ("account_id", "ref"), "account_id", where="available > 0 OR held > 0", each=1)
    assert sorted(select([1, 2])) == [(1, "a"), (2, "b")]
    assert select([]) == []
    assert len(bulk.select_few("lots", ("ref",), "account_id", where="granted > 0", each=1)([1, 2])) == 3


def test_update_changes_each_row_to_its_own_values(bulk: Bulk, database: Database) -> None:
    with database.write():
        changed = bulk.update("accounts", "id", ("available", "rate_window"))([(1, 10, b"\0\xff"), (3, -30, None)])
    assert changed == 2
    select = bulk.select("accounts", ("id", "available", "rate_window"), "id")
    assert select([1, 2, 3]) == [(1, 10, b"\0\xff"), (2, 0, None), (3, -30, None)]


def test_insert_keeps_every_kind_of_value(bulk: Bulk, database: Database) -> None:
    columns = ("id", "account_id", "prefix", "digest", "spend_limit", "created_at")
    rows = [("k1", 1, "é'\"%?$1", b"\0'", 2**62, 1), ("k2", 2, "th-2", bytes(32), None, -1)]
    with database.write():
        assert bulk.insert("keys", columns)(rows) == 2
    assert bulk.select("keys", columns, "id")(["k2", "k1"]) == rows


def test_insert_of_only_nulls_in_a_column(bulk: Bulk, database: Database) -> None:
    columns = ("request_id", "account_id", "key_id", "lease_id", "amount", "lot_id", "price_version", "placed_at")
    with database.write():
        bulk.insert("keys", ("id", "account_id", "prefix", "digest", "created_at"))([("k", 1, "th-", b"d", 0)])
        bulk.insert("holds", columns)([("r1", 1, "k", None, 1, None, "v", 0), ("r2", 1, "k", None, 2, None, "v", 0)])
    assert database.rows("SELECT request_id, lease_id, lot_id FROM holds ORDER BY 1") == [
        ("r1", None, None),
        ("r2", None, None),
    ]


def test_delete_says_how_many_there_were(bulk: Bulk, database: Database) -> None:
    with database.write():
        assert bulk.delete("accounts", "id")([1, 2, 9999]) == 2
        assert bulk.delete("accounts", "id")([]) == 0
    assert database.row("SELECT COUNT(*) FROM accounts") == (1298,)


def test_one_bad_row_refuses_the_whole_statement(bulk: Bulk, database: Database) -> None:
    insert = bulk.insert("accounts", ("name", "plan_id", "created_at"))
    with pytest.raises(StoreRejected) as refused, database.write():
        insert([("new", "starter", 0), ("account 1", "starter", 0)])
    assert refused.value.reason == "unique"
    assert database.row("SELECT COUNT(*) FROM accounts WHERE name = 'new'") == (0,)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_one_statement_is_prepared_once_whatever_the_size_of_its_numbers(bulk: Bulk, database: Database) -> None:
    """psycopg sends the smallest integer type that fits, unless told otherwise."""
    update = bulk.update("accounts", "id", ("available", "held"))
    for available in (1, 40_000, 2**40, 1, 2**62):
        with database.write():
            for _ in range(6):
                update([(1, available, 1)])
    prepared = database.row(
        "SELECT COUNT(*) FROM pg_prepared_statements WHERE statement LIKE ?", ("UPDATE accounts AS old%",)
    )
    assert prepared == (1,)


def test_t95_locked_rows_keep_another_writer_out_until_the_commit(bulk: Bulk, database: Database) -> None:
    """Two writers that touch the same rows take turns; neither loses what the other wrote."""
    meet, turns = threading.Event(), []

    def second() -> None:
        meet.wait()
        with database.write():
            ((_, available),) = bulk.select("accounts", ("id", "available"), "id", lock=True)([2])
            turns.append("second")
            bulk.update("accounts", "id", ("available",))([(2, available + 1)])
        database.close()

    thread = threading.Thread(target=second)
    thread.start()
    with database.write():
        found = bulk.select("accounts", ("id", "available"), "id", lock=True)([3, 2])
        meet.set()
        thread.join(0.2)
        bulk.update("accounts", "id", ("available",))([(key, available + 10) for key, available in found])
        turns.append("first")
    thread.join()
    assert turns == ["first", "second"]
    assert bulk.select("accounts", ("id", "available"), "id")([2, 3]) == [(2, 11), (3, 10)]
