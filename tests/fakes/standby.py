"""A PostgreSQL server that waits for ever, at commits or in statements, without touching the settings that all tests share."""

from tokenhub.store.database import Database


class Standby:
    """A server that waits at each commit of a hold or a request's end, as for a standby that is away; or at once (``at_commit`` false), as for a disk."""

    def __init__(self, database: Database, *, at_commit: bool = True) -> None:
        self._database = database
        waits = "WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP PERFORM pg_sleep(0.005); END LOOP; RETURN NULL;"
        when = "DEFERRED" if at_commit else "IMMEDIATE"
        with self._database.write():
            self._database.execute(
                f"CREATE FUNCTION wait_for_standby() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {waits} END$$"
            )
            for table in ("holds", "requests"):
                self._database.execute(
                    f"CREATE CONSTRAINT TRIGGER standby AFTER INSERT ON {table} DEFERRABLE INITIALLY {when} "
                    "FOR EACH ROW EXECUTE FUNCTION wait_for_standby()"
                )

    def leave(self) -> None:
        self._database.row("SELECT pg_advisory_lock(1)")

    def come_back(self) -> None:
        self._database.row("SELECT pg_advisory_unlock(1)")
