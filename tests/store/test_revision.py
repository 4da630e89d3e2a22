"""The counters that other processes watch."""

import threading
from contextlib import closing, suppress

import pytest

from tests.fakes.raw_client import eventually
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import revision
from tokenhub.store.database import Database, open_database
from tokenhub.store.revision import Revision


def test_every_change_counts_up_the_revision_and_its_scope(database: Database) -> None:
    seen = [revision.read(database)]
    for scope in (None, "catalog", "installation"):
        with database.write():
            revision.bump(database, scope)
        seen.append(revision.read(database))
    assert seen == [Revision(1, 1, 1), Revision(2, 1, 1), Revision(3, 1, 2), Revision(4, 2, 2)]


def test_a_change_that_is_undone_does_not_count(database: Database) -> None:
    with suppress(LookupError), database.write():
        revision.bump(database)
        raise LookupError
    assert revision.read(database) == Revision(1, 1, 1)


def test_a_count_without_its_change_is_refused(database: Database) -> None:
    with pytest.raises(RuntimeError, match="one write"):
        revision.bump(database)


def test_an_installation_keeps_its_name_and_check_value(database: Database) -> None:
    assert revision.instance(database) == "inst_test"
    assert revision.key_check(database) == bytes(32)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_change_is_made_when_the_writes_that_may_not_have_seen_it_have_ended(
    database: Database, settings: Settings, home: Home
) -> None:
    """A batch reads the versions, then waits for an account: it may place what the change forbids until it has ended."""
    made = threading.Event()

    def change() -> None:
        with closing(open_database(settings, home)) as other:
            with revision.change(other):
                revision.bump(other, "installation")
            made.set()

    changing = threading.Thread(target=change)
    with closing(open_database(settings, home)) as batch:
        with batch.write():
            before = revision.read(batch)
            changing.start()
            assert eventually(lambda: revision.read(database) != before)
            assert not made.wait(0.2)
        assert made.wait(5)
    changing.join()
