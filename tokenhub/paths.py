"""Where a hub lives: one folder with its settings, its database, its master key and its lock files."""

import fcntl
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tokenhub.errors import InvalidRequest, SetupError

FOLDER_MODE = 0o700
FILE_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Home:
    """A hub's folder. ``explicit``: named by a flag or ``TOKENHUB_HOME``, so never set up in passing."""

    path: Path
    explicit: bool

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def database(self) -> Path:
        return self.path / "tokenhub.db"

    @property
    def master_key(self) -> Path:
        return self.path / "master.key"

    @property
    def next_master_key(self) -> Path:
        """A master key that takes the place of the other as soon as the database is sealed with it; beside that, wherever it is kept."""
        kept = self.master_key.resolve()
        return kept.with_name(f"{kept.name}.next")

    def take_next_master_key(self) -> None:
        """Put the next master key, if there is one, in the place of the other."""
        if self.next_master_key.exists():
            kept = self.master_key.resolve()
            self.next_master_key.replace(kept)
            sync_folder(kept.parent)

    @property
    def run(self) -> Path:
        """The folder of lock files; what lies in it means nothing once no process runs."""
        return self.path / "run"

    def make_run(self) -> None:
        """Make the folder of lock files, if there is none."""
        if not self.run.is_dir():
            make_folder(self.run)
            _give(self.run, self.path)

    @contextmanager
    def alone(self, subject: str) -> Iterator[None]:
        """Wait until no other process is at this subject in this home, and keep others out; the lock ends with the process."""
        self.make_run()
        lock = open_private(self.run / f"{subject}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def home(explicit: Path | None = None) -> Home:
    """Return the home that a flag names, else ``TOKENHUB_HOME``, else the platform's place for it."""
    if explicit is not None:
        return Home(expanded(explicit).absolute(), explicit=True)
    if named := os.environ.get("TOKENHUB_HOME"):
        return Home(expanded(Path(named)).absolute(), explicit=True)
    import platformdirs  # 20 ms that most commands' start need not pay

    try:
        return Home(Path(platformdirs.user_data_dir("tokenhub", appauthor=False)), explicit=False)
    except RuntimeError:
        raise SetupError("this user has no folder of its own. Name a home with --home DIR, or TOKENHUB_HOME") from None


def expanded(path: Path) -> Path:
    """Return a path with a user's own folder in the place of its ``~``; InvalidRequest where there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise InvalidRequest(f"{str(path)!r} cannot be found: there is no folder for {path.parts[0]}.") from None


def make_folder(path: Path, *, how: str = ": --home DIR, or TOKENHUB_HOME") -> None:
    """Make a folder, and its parents, that only its owner can enter; an existing one keeps its mode.

    Raises SetupError, with the path and how another can be named, where that cannot be.
    """
    try:
        if path.is_dir():
            return
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        path.chmod(FOLDER_MODE)
    except OSError as error:
        raise SetupError(
            f"the folder {path} cannot be made ({error.strerror}). Name one that you can write{how}"
        ) from None


def open_private(path: Path, flags: int) -> int:
    """Open a file that, if this makes it, only its owner can read, whatever the umask (T93).

    What root makes in the folder of another user belongs to that one, whose gateway must read it too; SQLite
    does the same with its log. No link is followed, so that it is given nothing else.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    if flags & os.O_CREAT and os.fstat(descriptor).st_size == 0:
        os.fchmod(descriptor, FILE_MODE)
        _give(descriptor, path.parent)
    return descriptor


def _give(made: Path | int, folder: Path) -> None:
    """Give what root has made in a folder to that folder's owner; of a path, nothing that a link leads to."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        with suppress(OSError):  # a root without that right, in a container
            os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=isinstance(made, int))


def write_private(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a whole file, 0600, that after a crash is the old one or the new one. A link to one stays, and leads to the new one.

    Without ``replace``, FileExistsError is raised when it exists already.
    """
    path = path.resolve() if replace and path.is_symlink() else path
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        if replace:
            draft.replace(path)
        else:
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Put a folder's list of files on disk: without it a power cut can lose a file that was synced itself."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def loose_modes(home: Home) -> list[str]:
    """Name what others can read or write in a home, with the command that mends it (T93).

    What has gone meanwhile, and a link that leads nowhere (Emacs locks a file by one), is open to nobody.
    """
    found = []
    for path in (home.path, *sorted(home.path.glob("*"))):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        if mode & 0o077:
            wanted = FOLDER_MODE if stat.S_ISDIR(mode) else FILE_MODE
            found.append(
                f"{path} is open to others (mode {mode & 0o777:o}); run: chmod {wanted:o} {shlex.quote(str(path))}"
            )
    return found
