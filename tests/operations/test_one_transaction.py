"""Every operation that changes something is one transaction: an interrupt leaves all of it, or nothing (T124)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tokenhub.accounts.accounts import AccountStatus, Plan
from tokenhub.operations import accounts, credentials, first_run, grants, keys, models, plans, providers
from tokenhub.operations.credentials import Found, NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.providers import OwnProvider
from tokenhub.store import revision
from tokenhub.store.database import Database

LAB = OwnProvider(
    "lab", "https://lab.example/v1", [OwnModel("tiny", "tiny", {"input": "0", "output": "0"})], takes_key=False
)

OPERATIONS: dict[str, Callable[[Hub], object]] = {
    "accounts.create": lambda hub: accounts.create(hub, "globex"),
    "accounts.change": lambda hub: accounts.change(hub, 1, {"plan": "pro", "fee_bp": 5}),
    "accounts.set_status": lambda hub: accounts.set_status(hub, 1, AccountStatus.DISABLED),
    "keys.create": lambda hub: keys.create(hub, 1),
    "keys.change": lambda hub: keys.change(hub, keys.listing(hub)[0].key.id, {"rpm": 5}),
    "keys.rotate": lambda hub: keys.rotate(hub, keys.listing(hub)[0].key.id),
    "keys.revoke": lambda hub: keys.revoke(hub, keys.listing(hub)[0].key.id),
    "plans.create": lambda hub: plans.create(hub, Plan("team", 1, 1, 1, 1, 1)),
    "plans.change": lambda hub: plans.change(hub, "pro", {"fee_bp": 1}, model_names={"fast": ("gpt-4o",)}),
    "grants.grant": lambda hub: grants.grant(hub, 1, 5, expires_at_ms=None),
    "credentials.add": lambda hub: credentials.add(hub, NewCredential("openai", "sk-aaaabbbbccccddddeeee")),
    "credentials.set_status": lambda hub: credentials.set_status(hub, 1, "disabled"),
    "credentials.rotate": lambda hub: credentials.rotate(hub, 1, "sk-ffffgggghhhhiiiijjjj"),
    "credentials.remove": lambda hub: credentials.remove(hub, 1),
    "credentials.import_found": lambda hub: credentials.import_found(
        hub, [Found("A", "openai", "global", "sk-1111"), Found("B", "deepseek", "cn", "sk-2222")]
    ),
    "providers.add": lambda hub: providers.add(hub, LAB),
    "providers.remove": lambda hub: providers.remove(hub, "own"),
    "models.price": lambda hub: models.price(hub, "gpt-4o", {"input": "1", "output": "1"}, provider="openai"),
}


@pytest.fixture
def filled(hub: Hub) -> Hub:
    accounts.create(hub, "acme")
    keys.create(hub, 1)
    credentials.add(hub, NewCredential("anthropic", "sk-aaaabbbbccccddddeeee"))
    providers.add(
        hub, OwnProvider("own", "https://own.example/v1", [OwnModel("mine", "mine", {"input": "0", "output": "0"})])
    )
    return hub


def content(hub: Hub) -> list[list[tuple[object, ...]]]:
    tables = ("installation", "plans", "accounts", "keys", "lots", "entries", "credentials", "catalog_overrides")
    return [sorted(map(repr, hub.database.rows(f"SELECT * FROM {table}"))) for table in tables]  # type: ignore[misc]


@pytest.mark.parametrize("name", OPERATIONS)
def test_t124_an_operation_is_one_transaction(filled: Hub, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write, begun = Database.write, []

    @contextmanager
    def counted(self: Database) -> Iterator[None]:
        begun.append(self.in_write)
        with write(self):
            yield

    monkeypatch.setattr(Database, "write", counted)
    before = revision.read(filled.database)
    OPERATIONS[name](filled)
    assert begun.count(False) == 1
    assert revision.read(filled.database) != before or name == "grants.grant"


class PowerCut(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_t124_an_operation_cut_at_any_statement_changes_nothing(
    filled: Hub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(filled)
    statements = type(filled.database.peewee)
    run = statements.execute_sql
    plain = Database.execute
    for cut in range(1, 40):
        left = [cut]

        def count(sql: str, left: list[int] = left) -> None:
            if sql.lstrip().split(None, 1)[0].upper() in ("INSERT", "UPDATE", "DELETE"):
                left[0] -= 1
                if left[0] == 0:
                    raise PowerCut

        def through_peewee(self, sql, params=None, *rest, count=count):  # type: ignore[no-untyped-def]
            result = run(self, sql, params, *rest)
            count(sql)
            return result

        def through_database(self, sql, params=(), count=count):  # type: ignore[no-untyped-def]
            result = plain(self, sql, params)
            count(sql)
            return result

        with monkeypatch.context() as patch:
            patch.setattr(statements, "execute_sql", through_peewee)
            patch.setattr(Database, "execute", through_database)
            try:
                OPERATIONS[name](filled)
            except PowerCut:
                assert content(filled) == before, f"cut at statement {cut}"
                continue
        assert cut > 1, "no statement was seen"
        assert content(filled) != before
        return
    raise AssertionError("the operation never ended")


def test_a_first_key_is_made_once_and_only_where_no_home_was_named(hub: Hub) -> None:
    assert hub.home.explicit
    assert first_run.first_key(hub) is None
    assert accounts.listing(hub) == []
