"""Backups: a home written beside the running one, and a home made of it again.

A backup is a folder with a database and settings, which any command opens with ``--home`` and
the master key. The key itself is no part of it: whoever has both has the providers' keys. The
database is SQLite's, whatever the hub's own is, so a backup is also the way from one to the other.
"""

import fcntl
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenhub import failpoints, settings
from tokenhub.billing.discrepancies import Discrepancy
from tokenhub.errors import Conflict, InvalidRequest, SetupError
from tokenhub.operations import config
from tokenhub.operations.hub import Flags, Hub
from tokenhub.paths import FILE_MODE, Home, expanded, make_folder, sync_folder, write_private
from tokenhub.settings import Settings
from tokenhub.store import audit, copies, leases, revision, sqlite, vitals
from tokenhub.store.database import CommitUnknown, Database, StoreError, opened_beside
from tokenhub.store.holds import release_holds_of
from tokenhub.store.migrate import MadeBefore
from tokenhub.store.vault import ENVIRONMENT, Vault, encoded, load_master_key, read_master_key

_DRAFT: Final = ".tokenhub-draft."
"""How the name of a folder begins in which something is not whole yet."""


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
    orphans: Sequence[str] = ()
    """Rows that have lost what they refer to, in both."""

    @property
    def is_sound(self) -> bool:
        return not self.discrepancies and not self.orphans


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

    Its database is there only once it was opened again and read to its end. ``whole`` keeps what
    is known of single requests too, to move and not to keep. Raises InvalidRequest, Conflict, SetupError.
    """
    place = _path(place)
    if place.exists() and not place.is_dir():
        raise InvalidRequest(f"{str(place)!r} is no folder. Name a new one for each backup.")
    if place.resolve().is_relative_to(hub.home.path.resolve()):
        raise InvalidRequest(
            f"{str(place)!r} lies in the home itself, and would be lost with it. Name a folder elsewhere."
        )
    if network := sqlite.network_of(place):
        raise InvalidRequest(
            f"{place} is on a network file system ({network}). Make the backup on a local disk, then copy the folder."
        )
    made, own_settings = Home(place, explicit=True), config.without_database(hub.home).encode()
    with _told(f"no backup could be written to {place}"), _draft(place) as draft:
        _refuse_filled(made, draft, own_settings)
        left_out = 0

        def fill(target: Database) -> None:
            nonlocal left_out
            left_out = copies.fill(target, hub.database, whole=whole, now_ms=now_ms)

        with opened_beside(Settings(), draft, create=fill):
            pass
        with opened_beside(Settings(), draft) as copy:
            _refuse_damaged(copy, place)
            found, orphans, latest_ms = audit.verify(copy), copies.orphans(copy), vitals.latest_moment_ms(copy)
        size = draft.database.stat().st_size
        failpoints.hit("backup.checked")
        write_private(made.config, own_settings)
        failpoints.hit("backup.settings")
        _place(draft, made)
    return Backup(place, hub.instance, latest_ms, size, left_out, found, orphans)


def restore(home: Home, place: Path, *, master_key: Path | None, now_ms: int, flags: Flags | None = None) -> Restored:
    """Make a home of a backup, on whichever database its settings name, and release the holds of its requests.

    The home must have no database yet, and the PostgreSQL database no tables. The backup stays as
    it is; it may be of an older version. ``master_key``: a file to take the key from, where
    neither the home nor the environment has it. Raises InvalidRequest, Conflict, SetupError.
    """
    backup = Home(_path(place), explicit=True)
    _refuse_no_backup(backup)
    with (
        _told(f"the backup {backup.path} could not be restored to {home.path}"),
        _draft(home.path, ": --home DIR, or TOKENHUB_HOME") as draft,
    ):
        _refuse_used(home)
        key, chosen = _key(home, master_key), settings.load(home, flags)
        shutil.copyfile(backup.database, draft.database)
        draft.database.chmod(FILE_MODE)
        try:
            with opened_beside(Settings(), draft) as copy:
                _refuse_damaged(copy, backup.path)
                _refuse_key(copy, key)
                instance, latest_ms = revision.instance(copy), vitals.latest_moment_ms(copy)
                released = _void(copy, now_ms)
        except SetupError as error:
            raise SetupError(error.message.replace(str(draft.path), str(backup.path))) from error
        failpoints.hit("restore.checked")
        with _settings_and_key(home, backup, key):
            if not chosen.database_url:
                _place(draft, home)
            else:
                _fill(chosen, home, draft, now_ms)
        failpoints.hit("restore.placed")
        with opened_beside(chosen, home) as made:
            return Restored(home.path, made.kind, instance, latest_ms, released, audit.verify(made))


def _fill(chosen: Settings, home: Home, draft: Home, now_ms: int) -> None:
    """Write all of a draft into the PostgreSQL database that the settings name."""
    with opened_beside(Settings(), draft) as copy:

        def fill(target: Database) -> None:
            copies.fill(target, copy, whole=True, now_ms=now_ms)

        try:
            with opened_beside(chosen, home, create=fill):
                pass
        except MadeBefore:
            raise SetupError(
                "the PostgreSQL database is a TokenHub database already, and a backup becomes an empty one. "
                "Name another in TOKENHUB_DATABASE_URL, or in database.url of config.toml"
            ) from None


def _void(copy: Database, now_ms: int) -> int:
    """Release the holds of requests whose processes are not at work on this copy; those of videos stay."""
    leases.end_all(copy)
    return sum(release_holds_of(copy, lease, now_ms) for lease in leases.ended_with_holds(copy))


# Places


def _path(named: Path) -> Path:
    try:
        return named.expanduser().resolve()
    except RuntimeError as error:
        raise InvalidRequest(f"{str(named)!r} is no folder: {error}.") from None


@contextmanager
def _draft(folder: Path, how: str = "") -> Iterator[Home]:
    """Have a folder to oneself, made if it is not there, and work in a home inside it; nothing is left of that.

    The folder's lock ends with the process, so what another left there is a dead one's.
    """
    is_new = not folder.exists()
    make_folder(folder, how=how)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, folder)
        for left in folder.glob(f"{_DRAFT}*"):
            shutil.rmtree(left)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
        try:
            yield Home(draft, explicit=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    finally:
        os.close(descriptor)
        if is_new:
            with suppress(OSError):  # there is something in it: it was made whole
                folder.rmdir()


def _lock(descriptor: int, folder: Path) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        raise InvalidRequest(f"{folder} belongs to another user. Run the command as that one, or name another folder.")
    if status.st_mode & 0o022:
        raise InvalidRequest(
            f"{folder} is not yours alone to write. Name another folder, or run: chmod 700 {shlex.quote(str(folder))}"
        )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(f"Another backup, or a restore, is at work in {folder}.") from None


def _place(draft: Home, home: Home) -> None:
    """Put a finished database where it belongs, on disk: from this moment on it is there, and whole."""
    if sqlite.side_files(draft.database):
        raise SetupError("the disk did not take all of it")
    with draft.database.open("rb") as file:
        os.fsync(file.fileno())
    draft.database.rename(home.database)
    sync_folder(home.path)
    with suppress(PermissionError):  # a parent that can be entered and not read
        sync_folder(home.path.parent)


@contextmanager
def _settings_and_key(home: Home, backup: Home, key: bytes) -> Iterator[None]:
    """Give a home its key and its settings, where it has none; what fails inside takes them away again.

    They stay where it is not known whether the database was filled: it would be of no use without the key.
    """
    given: list[Path] = []
    try:
        if not home.master_key.exists() and not os.environ.get(ENVIRONMENT):
            write_private(home.master_key, encoded(key), replace=False)
            given.append(home.master_key)
        if backup.config.exists() and not home.config.exists():
            write_private(home.config, backup.config.read_bytes(), replace=False)
            given.append(home.config)
        yield
    except CommitUnknown:
        raise
    except BaseException:
        for path in given:
            path.unlink()
        raise


@contextmanager
def _told(words: str) -> Iterator[None]:
    """Say of what fails for want of room, rights or a database what it was that failed."""
    try:
        yield
    except (StoreError, OSError) as error:
        reason = str(error) if isinstance(error, StoreError) else error.strerror or type(error).__name__
        raise SetupError(f"{words}: {reason.removeprefix('the ledger cannot be used: ')}") from error


# Refusals


def _key(home: Home, file: Path | None) -> bytes:
    """Return the master key that the home will be opened with."""
    is_there = bool(os.environ.get(ENVIRONMENT)) or home.master_key.exists()
    if file is None:
        if not is_there:
            raise InvalidRequest("a backup has no master key. Name a copy of it: --master-key FILE.")
        return load_master_key(home)
    key = read_master_key(expanded(file), is_kept=False)
    if is_there and load_master_key(home) != key:
        source = ENVIRONMENT if os.environ.get(ENVIRONMENT) else home.master_key
        raise InvalidRequest(f"{source} is another key than {file}, and would win. Take it away, or name another home.")
    return key


def _refuse_key(copy: Database, key: bytes) -> None:
    if not Vault(key).knows(revision.instance(copy), revision.key_check(copy)):
        raise SetupError(
            "the master key is not the one that this backup's database was made with. Name the right one: --master-key FILE"
        )


def _refuse_filled(place: Home, draft: Home, own_settings: bytes) -> None:
    """Refuse a folder with anything in it but what a backup that was killed may have left: these settings."""
    for one in place.path.iterdir():
        if one != draft.path and not (one == place.config and one.read_bytes() == own_settings):
            raise InvalidRequest(f"{place.path} exists already. Name a new folder for each backup.")


def _refuse_used(home: Home) -> None:
    """Refuse a home with a database, or with what SQLite would play into a new one."""
    for left in (home.database, *sqlite.side_files(home.database)):
        if os.path.lexists(left):
            raise InvalidRequest(f"{home.path} has a database already ({left.name}). Name an empty folder: --home DIR.")
    if leases.any_is_held(home):
        raise Conflict(f"A gateway is at work in {home.path}. Stop it first.")


def _refuse_no_backup(backup: Home) -> None:
    if not backup.database.is_file():
        raise InvalidRequest(f"there is no backup at {backup.path}. Name the folder that a backup was made in.")
    if sqlite.side_files(backup.database):
        raise InvalidRequest(
            f"{backup.path} is a home at work, not a backup: its newest commits are in a log of their own. Make a backup of it: tokenhub --home {backup.path} backup DIR"
        )


def _refuse_damaged(copy: Database, place: Path) -> None:
    if found := copies.damage(copy):
        raise SetupError(f"the database in {place} is damaged: {found[:200]}")
