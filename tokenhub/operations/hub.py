"""The hub: settings, home, store and vault, opened for a door.

Every command opens one, so what is not always needed is loaded when it is: ``cryptography`` by
the first use of the vault, ``psycopg`` by a PostgreSQL store.
"""

import os
import secrets
import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from tokenhub import clock, settings
from tokenhub.errors import SetupError
from tokenhub.paths import Home, loose_modes, make_folder, write_private
from tokenhub.settings import Settings
from tokenhub.store import leases, revision
from tokenhub.store.database import Database, open_database
from tokenhub.store.migrate import MadeBefore
from tokenhub.store.vault import ENVIRONMENT, Vault, load_master_key, read_master_key

Flags = Mapping[str, object]

REKEY: Final = "rekey"
"""What one process of a home does at a time: give it another master key, and put that in its place."""

FIRST_CONFIG = b"""\
# TokenHub's settings. `tokenhub config list` names every one, with its default.
# The environment (TOKENHUB_SERVER_PORT for server.port) and flags win over this file.
"""


@dataclass(frozen=True, slots=True)
class Hub:
    """One installation, opened by one process. Close it, or use it in a ``with``."""

    settings: Settings
    home: Home
    database: Database
    vault: Vault
    instance: str
    """The random id of this installation."""
    is_new: bool = False
    """Made by this very call."""

    @classmethod
    def open(cls, home: Home, flags: Flags | None = None) -> Self:
        """Open an installation that exists; SetupError for whatever is missing or not as it must be."""
        chosen = settings.load(home, flags)
        if not chosen.database_url:
            _require(home)
        vault = Vault(load_master_key(home))
        database = _opened(chosen, home)
        try:
            instance = revision.instance(database)
            vault = _vault_of(home, vault, instance, revision.key_check(database))
        except BaseException:
            database.close()
            raise
        return cls(chosen, home, database, vault, instance)

    @classmethod
    def open_without_key(cls, home: Home, vault: Vault, flags: Flags | None = None) -> Self:
        """Open an installation whose master key is lost, to seal it with another; nothing that is sealed can be opened."""
        chosen = settings.load(home, flags)
        if not chosen.database_url:
            _require_database(home)
        database = _opened(chosen, home)
        try:
            return cls(chosen, home, database, vault, revision.instance(database))
        except BaseException:
            database.close()
            raise

    @classmethod
    def init(cls, home: Home, flags: Flags | None = None) -> Self:
        """Make an installation: folder, settings file, master key and store; what is there already is kept.

        Only a store that has been made before stops it. A crash in between leaves what a second
        ``init`` completes: the store is made last, in one transaction.
        """
        make_folder(home.path)
        chosen = settings.load(home, flags)
        if not home.config.exists():
            write_private(home.config, FIRST_CONFIG)
        vault = Vault(load_master_key(home, create=True))
        instance = f"inst_{secrets.token_hex(16)}"

        def fill(database: Database) -> None:
            from tokenhub.operations import default_plans

            revision.create(database, instance, vault.check_value(instance), clock.now_ms())
            default_plans.seed(database)

        return cls(chosen, home, open_database(chosen, home, create=fill), vault, instance, is_new=True)

    @classmethod
    def init_or_open(cls, home: Home, flags: Flags | None = None) -> Self:
        """What the command ``init`` does: make an installation, or open the whole one that is there (``is_new`` tells which).

        What that one lacks is told, and nothing is put in the place of a lost master key.
        """
        had_key = home.master_key.exists()
        try:
            return cls.init(home, flags)
        except MadeBefore:
            try:
                return cls.open(home, flags)
            except SetupError:
                if had_key:
                    raise
        # A key made here opens nothing. One that opens the store is that of an ``init`` which ran beside this one.
        home.master_key.unlink(missing_ok=True)
        return cls.open(home, flags)

    @classmethod
    def open_or_init(cls, home: Home, flags: Flags | None = None) -> Self:
        """What the first ``serve`` does: make an installation in the default home, if nothing of one is there (T91).

        A named home or database must exist: a typing error must not make an empty hub.
        """
        empty = not any(part.exists() for part in (home.config, home.database, home.master_key))
        if empty and not home.explicit and not settings.load(home, flags).database_url:
            return cls.init_or_open(home, flags)
        return cls.open(home, flags)

    def warnings(self) -> list[str]:
        """What is not as safe as it could be, with its remedy."""
        return loose_modes(self.home)

    def close(self) -> None:
        """Close the store's connections."""
        self.database.close_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(chosen: Settings, home: Home) -> Database:
    """Open the store; one that must be upgraded only while no gateway counts on it as it is."""

    def alone(database: Database) -> None:
        revision.lock(database)
        leases.end_all_but_running(database, home, chosen.database_lease_s)

    return open_database(chosen, home, before_upgrade=alone)


def _require(home: Home) -> None:
    """Refuse a home that does not exist, or that lacks one of its parts, by its name."""
    if not home.path.is_dir():
        raise SetupError(
            f"there is no TokenHub home at {home.path}. Make one with: tokenhub init --home {shlex.quote(str(home.path))}"
        )
    key_there = home.master_key.exists() or ENVIRONMENT in os.environ
    if home.database.exists() and not key_there:
        raise SetupError(
            f"{home.path} has a database but no master key ({home.master_key.name}). Restore it from where you keep it, or set {ENVIRONMENT}; if it is lost: tokenhub rekey --lost"
        )
    _require_database(home)


def _require_database(home: Home) -> None:
    if not home.database.exists():
        raise SetupError(
            f"there is no database in {home.path}. Complete the home with: tokenhub init --home {shlex.quote(str(home.path))}; make it of a backup: tokenhub restore DIR; or set TOKENHUB_DATABASE_URL, where it is on PostgreSQL"
        )


def _vault_of(home: Home, vault: Vault, instance: str, key_check: bytes) -> Vault:
    """Return the vault that opens what a database holds; a master key that was just replaced takes its place here."""
    if vault.knows(instance, key_check):
        return vault
    if not os.environ.get(ENVIRONMENT):
        with home.alone(REKEY) if home.next_master_key.exists() else nullcontext():
            for path in (home.master_key, home.next_master_key):
                if path.exists() and (kept := Vault(read_master_key(path))).knows(instance, key_check):
                    if path == home.next_master_key:
                        home.take_next_master_key()
                    return kept
    raise SetupError(
        f"the master key ({_key_source(home)}) is not the one this database was made with, so stored "
        "credentials could not be opened. Restore the right one; if it is lost: tokenhub rekey --lost"
    )


def _key_source(home: Home) -> str:
    return ENVIRONMENT if os.environ.get(ENVIRONMENT) else str(home.master_key)
