"""Where a hub lives, and who may look into it."""

import os
import stat
from pathlib import Path

import pytest

from tokenhub import paths
from tokenhub.errors import InvalidRequest, SetupError
from tokenhub.paths import Home


def test_a_flag_wins_over_the_environment_and_that_over_the_platform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert paths.home() == Home(tmp_path / "data" / "tokenhub", explicit=False)
    monkeypatch.setenv("TOKENHUB_HOME", str(tmp_path / "named"))
    assert paths.home() == Home(tmp_path / "named", explicit=True)
    assert paths.home(tmp_path / "flag") == Home(tmp_path / "flag", explicit=True)


def test_a_home_is_an_absolute_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.home(Path("hub")).path == tmp_path / "hub"
    assert paths.home(Path("~/hub")).path == Path.home() / "hub"


@pytest.mark.parametrize("named", ["~nobody-is-called-so", "~nobody-is-called-so/hub"])
def test_a_home_of_nobody_is_told_of(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match=f"^'{named}' cannot be found"):
        paths.home(Path(named))
    monkeypatch.setenv("TOKENHUB_HOME", named)
    with pytest.raises(InvalidRequest, match=f"^'{named}' cannot be found"):
        paths.home()


def test_a_user_without_a_folder_is_asked_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "TOKENHUB_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_294_967)
    with pytest.raises(SetupError, match=r"^this user has no folder of its own\. Name a home with --home DIR"):
        paths.home()


def test_a_private_file_is_whole_or_as_before(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    paths.write_private(file, b"one")
    paths.write_private(file, b"two")
    assert file.read_bytes() == b"two"
    with pytest.raises(FileExistsError):
        paths.write_private(file, b"three", replace=False)
    assert file.read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_a_file_that_is_kept_elsewhere_is_written_there(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    link = tmp_path / "config.toml"
    link.symlink_to("etc/hub.toml")
    for text in (b"one", b"two"):
        paths.write_private(link, text)
        assert (link.is_symlink(), (tmp_path / "etc" / "hub.toml").read_bytes()) == (True, text)
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["hub.toml"]


def test_what_is_made_in_a_home_belongs_to_the_owner_of_the_home(tmp_path: Path) -> None:
    """Also what root makes; nobody else can work in another user's home."""
    home = Home(tmp_path / "home", explicit=True)
    paths.make_folder(home.path)
    owner = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), home.path.stat().st_gid)
    os.chown(home.path, *owner)
    paths.write_private(home.config, b"one")
    paths.write_private(home.config, b"two")
    with home.alone("config"):
        pass
    made = {home.config: 0o600, home.run: 0o700, home.run / "config.lock": 0o600}
    assert {one: (one.stat().st_uid, one.stat().st_gid, one.stat().st_mode & 0o777) for one in made} == {
        one: (*owner, mode) for one, mode in made.items()
    }


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", explicit=True)
    paths.make_folder(home.run)
    (tmp_path / "other").touch(0o644)
    (home.run / "config.lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"), home.alone("config"):
        pass
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
def test_t93_files_and_folders_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        paths.make_folder(tmp_path / "a" / "b")
        paths.write_private(tmp_path / "a" / "b" / "key", b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b" / "key").stat().st_mode) == 0o600


def test_t93_looser_modes_are_named_with_their_remedy(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", explicit=True)
    paths.make_folder(home.run)
    paths.make_folder(home.path)
    home.path.chmod(0o755)
    for name, mode in (("tokenhub.db", 0o644), ("config.toml", 0o600), ("master.key", 0o600)):
        (home.path / name).touch(mode)
        (home.path / name).chmod(mode)
    assert paths.loose_modes(home) == [
        f"{home.path} is open to others (mode 755); run: chmod 700 {home.path}",
        f"{home.database} is open to others (mode 644); run: chmod 600 {home.database}",
    ]


def test_a_link_that_leads_nowhere_keeps_no_home_from_being_looked_at(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", explicit=True)
    paths.make_folder(home.path)
    (home.path / ".#config.toml").symlink_to("me@host.4711:1795468429")
    home.config.touch(0o640)
    home.config.chmod(0o640)
    assert paths.loose_modes(home) == [f"{home.config} is open to others (mode 640); run: chmod 600 {home.config}"]
