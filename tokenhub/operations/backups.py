"""Backups: a home written beside the running one, and a home made of it again.

A backup is a folder with a database and settings, which any command opens with ``--home`` and
the master key. The key itself is no part of it: whoever has both has the providers' keys. The
database is SQLite's, whatever the hub's own is, so a backup is also the way from one to the other.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenhub import failpoints, settings
from tokenhub.billing.discrepancies import Discrepancy
from tokenhub.errors import InvalidRequest, SetupError
from tokenhub.operations import config
from tokenhub.operations.hub import Flags, Hub
from tokenhub.paths import Home, make_folder, open_private, sync_folder, write_private
from tokenhub.settings import Settings
from tokenhub.store import audit, copies, leases, revision, sqlite, vitals
from tokenhub.store.database import Database, opened_beside
from tokenhub.store.holds import release_holds_of
from tokenhub.store.vault import ENVIRONMENT, Vault, encoded, load_master_key, read_master_key

_DRAFT: Final = ".tokenhub-draft."
"""With the process's number: the name of a folder that is not whole yet."""
_LOCK: Final = "lock"


@dataclass(frozen=True, slots=True)
class Backup:
    """What was written."""

    path: Path
    instance: str
    latest_ms: int
    """The latest moment that anything in it was written at."""
    size: int
    """Bytes of its database."""
    left_out: int
    """Requests of closed days: their fees stand in the days' lines."""
    discrepancies: Sequence[Discrepancy]
    """What does not add up, in the copy as in the original; nothing, as a rule."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was made of a backup."""

    home: Path
    kind: str
    """``sqlite`` or ``postgres``."""
    instance: str
    latest_ms: int
    released: int
    """Holds of requests that ran when the backup was made."""
    discrepancies: Sequence[Discrepancy]


def back_up(hub: Hub, place: Path, *, whole: bool, now_ms: int) -> Backup:
    """Write a backup into a folder that does not exist yet, or is empty; the gateway need not stop.

    The folder has its name only once its database was opened again and found sound. ``whole``
    keeps what is known of single requests too, to move and not to keep. Raises InvalidRequest,
    SetupError.
    """
    place = place.expanduser().absolute()
    _refuse_place(place)
    with _draft(place.parent) as draft:
        with opened_beside(
            Settings(), draft, create=lambda target: copies.fill(target, hub.database, whole=whole, now_ms=now_ms)
        ):
            pass
        with opened_beside(Settings(), draft) as copy:
            _refuse_unsound(copy, draft)
            found, latest_ms = audit.verify(copy), vitals.latest_moment_ms(copy)
        _require_closed(draft)
        write_private(draft.config, config.without_database(hub.home).encode())
        shutil.rmtree(draft.run, ignore_errors=True)
        size = draft.database.stat().st_size
        failpoints.hit("backup.checked")
        (draft.path / _LOCK).unlink()
        sync_folder(draft.path)
        draft.path.rename(place)
        sync_folder(place.parent)
    left_out = 0 if whole else copies.left_out(hub.database)
    return Backup(place, hub.instance, latest_ms, size, left_out, found)


def restore(home: Home, place: Path, *, master_key: Path | None, now_ms: int, flags: Flags | None = None) -> Restored:
    """Make a home of a backup, on whichever database its settings name, and release the holds of its requests.

    The home must have no database yet, and the PostgreSQL database no tables. The backup stays as
    it is; it may be of an older version. ``master_key``: a file to take the key from, where
    neither the home nor the environment has it. Raises InvalidRequest, SetupError.
    """
    backup = Home(place.expanduser().absolute(), explicit=True)
    _refuse_no_backup(backup)
    make_folder(home.path)
    key = _key(home, master_key)
    chosen = settings.load(home, flags)
    _refuse_used(home, key)
    with _draft(home.path) as draft:
        shutil.copyfile(backup.database, draft.database)
        draft.database.chmod(0o600)
        with opened_beside(Settings(), draft) as copy:
            _refuse_unsound(copy, backup)
            instance = revision.instance(copy)
            if not Vault(key).knows(instance, revision.key_check(copy)):
                raise SetupError(
                    "the master key is not the one that this backup's database was made with. Name the right one: --master-key FILE"
                )
            released = _void(copy, now_ms)
            made = Restored(home.path, "sqlite", instance, vitals.latest_moment_ms(copy), released, audit.verify(copy))
        _require_closed(draft)
        failpoints.hit("restore.checked")
        return _placed(home, backup, draft, chosen, made, key if master_key else None, now_ms)


def _key(home: Home, file: Path | None) -> bytes:
    if file is not None:
        return read_master_key(file.expanduser())
    if not home.master_key.exists() and not os.environ.get(ENVIRONMENT):
        raise InvalidRequest("a backup has no master key. Name a copy of it: --master-key FILE.")
    return load_master_key(home)


def _placed(
    home: Home, backup: Home, draft: Home, chosen: Settings, made: Restored, key: bytes | None, now_ms: int
) -> Restored:
    """Put what was made of a backup where it belongs: the key and the settings first, the database last."""
    if key is not None and not home.master_key.exists():
        write_private(home.master_key, encoded(key), replace=False)
    if backup.config.exists() and not home.config.exists():
        write_private(home.config, backup.config.read_bytes(), replace=False)
    if not chosen.database_url:
        os.link(draft.database, home.database)  # unlike a renaming, this replaces nothing
        sync_folder(home.path)
        return made
    with opened_beside(Settings(), draft) as copy:

        def fill(target: Database) -> None:
            copies.fill(target, copy, whole=True, now_ms=now_ms)

        with opened_beside(chosen, home, create=fill) as target:
            failpoints.hit("restore.filled")
            return Restored(made.home, target.kind, made.instance, made.latest_ms, made.released, audit.verify(target))


def _void(copy: Database, now_ms: int) -> int:
    """Release the holds of requests whose processes are not at work on this copy; those of videos stay."""
    leases.end_all(copy)
    return sum(release_holds_of(copy, lease, now_ms) for lease in leases.ended_with_holds(copy))


@contextmanager
def _draft(folder: Path) -> Iterator[Home]:
    """Make a home to work in, inside the folder where its work will be; nothing is left of it, nor of those that died."""
    for left in folder.glob(f"{_DRAFT}*"):
        _remove_if_dead(left)
    path = folder / f"{_DRAFT}{os.getpid()}"
    make_folder(path)
    lock = open_private(path / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Home(path, explicit=True)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _remove_if_dead(draft: Path) -> None:
    """Remove a draft whose process has ended: then the lock that it held is free."""
    with suppress(FileNotFoundError, BlockingIOError), (draft / _LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(draft, ignore_errors=True)


def _refuse_place(place: Path) -> None:
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise InvalidRequest(f"{place} exists already. Name a new folder for each backup.")
    if sqlite.network_of(place):
        raise InvalidRequest(
            f"{place} is on a network file system. Make the backup on a local disk, then copy the folder."
        )


def _refuse_used(home: Home, key: bytes) -> None:
    """Refuse a home with a database, with what SQLite would play into the new one (a log of another), or another key."""
    for left in (home.database, _log(home)):
        if left.exists():
            raise InvalidRequest(f"{home.path} has a database already ({left.name}). Name an empty folder: --home DIR.")
    if home.master_key.exists() and read_master_key(home.master_key) != key:
        raise InvalidRequest(f"{home.master_key} is another key. Name an empty folder: --home DIR.")


def _refuse_no_backup(backup: Home) -> None:
    if not backup.database.is_file():
        raise InvalidRequest(f"there is no backup at {backup.path}: a folder made by tokenhub backup is expected.")
    if (log := _log(backup)).exists() and log.stat().st_size:
        raise InvalidRequest(
            f"{backup.path} is a home at work, not a backup: its newest commits are in {log.name}. Make a backup of it: tokenhub backup DIR."
        )


def _require_closed(draft: Home) -> None:
    """See that all was copied into the database's file, which alone is kept."""
    if _log(draft).exists():
        raise SetupError(
            f"{draft.database} could not be completed on its disk; nothing was kept of it. Make room, and try again"
        )


def _log(home: Home) -> Path:
    """Where SQLite keeps commits until they are copied into the database's file; gone once that is closed."""
    return home.database.with_name(f"{home.database.name}-wal")


def _refuse_unsound(copy: Database, home: Home) -> None:
    if found := copies.faults(copy):
        raise SetupError(f"the database in {home.path} is damaged: {found[0][:200]}")
