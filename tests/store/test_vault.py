"""T43: credentials at rest are sealed, bound to their rows, and useless without the right key."""

import base64
import stat
from pathlib import Path

import pytest

from tokenhub.errors import SetupError
from tokenhub.paths import Home
from tokenhub.store.vault import Vault, load_master_key

SECRET = "sk-canary-0123456789-äöü"


@pytest.fixture
def vault() -> Vault:
    return Vault(bytes(range(32)))


def test_a_sealed_secret_opens_in_its_own_place(vault: Vault) -> None:
    sealed = vault.seal(SECRET, b"credential 1 openai default")
    assert vault.open(sealed, b"credential 1 openai default") == SECRET
    assert SECRET.encode() not in sealed
    assert vault.seal(SECRET, b"credential 1 openai default") != sealed


def test_t43_every_flipped_byte_is_noticed(vault: Vault) -> None:
    sealed = vault.seal("short", b"row")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SetupError, match="the stored secret of row cannot be opened"):
            vault.open(bytes(changed), b"row")


@pytest.mark.parametrize("length", [0, 1, 12, 13, 28])
def test_t43_a_cut_secret_is_noticed(vault: Vault, length: int) -> None:
    with pytest.raises(SetupError, match="cannot be opened"):
        vault.open(vault.seal(SECRET, b"row")[:length], b"row")


def test_t43_two_rows_cannot_be_swapped(vault: Vault) -> None:
    first, second = vault.seal("one", b"credential 1"), vault.seal("two", b"credential 2")
    for sealed, place in ((first, b"credential 2"), (second, b"credential 1")):
        with pytest.raises(SetupError, match=f"of {place.decode()} cannot be opened"):
            vault.open(sealed, place)


def test_t43_another_key_opens_nothing(vault: Vault) -> None:
    other = Vault(bytes(32))
    with pytest.raises(SetupError, match="another master key"):
        other.open(vault.seal(SECRET, b"row"), b"row")


def test_t43_a_wrong_key_is_known_without_any_credential(vault: Vault) -> None:
    check = vault.check_value("inst_1")
    assert vault.knows("inst_1", check)
    assert not Vault(bytes(32)).knows("inst_1", check)
    assert not vault.knows("inst_2", check)
    assert not vault.knows("inst_1", b"")


def test_keys_of_different_purposes_differ(vault: Vault) -> None:
    made = {vault.derive("credentials"), vault.derive("check"), vault.derive("session"), bytes(range(32))}
    assert len(made) == 4


def test_i7_a_vault_does_not_show_its_key(vault: Vault) -> None:
    assert repr(vault) == "Vault()"


def test_t93_the_key_file_is_private_random_and_stays(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", explicit=True)
    key = load_master_key(home, create=True, environment={})
    assert stat.S_IMODE(home.master_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert base64.b64decode(home.master_key.read_bytes()) == key
    assert len(key) == 32
    assert load_master_key(home, create=True, environment={}) == key
    assert load_master_key(Home(tmp_path / "other", explicit=True), create=True, environment={}) != key
    assert [path.name for path in home.path.iterdir()] == ["master.key"]


def test_the_environment_holds_a_key_instead_of_the_file(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", explicit=True)
    text = base64.b64encode(bytes(range(32))).decode()
    assert load_master_key(home, create=True, environment={"TOKENHUB_MASTER_KEY": text}) == bytes(range(32))
    assert not home.path.exists()


@pytest.mark.parametrize("text", ["QUJD", "zzéß", *(base64.b64encode(bytes(n)).decode() for n in (31, 64)), "!" * 44])
def test_t43_what_is_no_key_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    home = Home(tmp_path, explicit=True)
    home.master_key.write_text(text, encoding="utf-8")
    home.master_key.chmod(0o600)
    for environment, source in (({"TOKENHUB_MASTER_KEY": text}, "TOKENHUB_MASTER_KEY"), ({}, "master.key")):
        with pytest.raises(SetupError, match=f"{source} is not a master key: 32 bytes in base64") as refused:
            load_master_key(home, environment=environment)
        assert text not in str(refused.value)


def test_t43_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"master\.key is missing"):
        load_master_key(Home(tmp_path, explicit=True), environment={})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_t127_a_key_file_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    home = Home(tmp_path, explicit=True)
    load_master_key(home, create=True, environment={})
    home.master_key.chmod(mode)
    with pytest.raises(SetupError, match=f"mode {mode:o}.*chmod 600"):
        load_master_key(home, environment={})
