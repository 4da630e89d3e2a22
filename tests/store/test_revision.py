"""The counters that other processes watch."""

from contextlib import suppress

import pytest

from tokenhub.store import revision
from tokenhub.store.database import Database
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
