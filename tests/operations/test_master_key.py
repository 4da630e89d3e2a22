"""Another master key: everything that was sealed opens with it, or is given up by name; the books do not notice."""

import asyncio
import base64
import fcntl
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import hub_flags, process_environment
from tests.fakes import rekey_process
from tests.fakes.bank import Bank
from tests.forked import Forked, Piped
from tokenhub import clock
from tokenhub.errors import Conflict, InvalidRequest, SetupError
from tokenhub.failpoints import REKEY_FAILPOINTS
from tokenhub.operations import credentials, gateways, ledger, master_key, own_models, providers, secrets
from tokenhub.operations.hub import Hub
from tokenhub.proxy import supervisor
from tokenhub.proxy.app import Gateway
from tokenhub.store import catalog, leases

SECRET, MAIL = "sk-a-provider's-secret-key", "the mail password"


@pytest.fixture
def sealed(hub: Hub) -> Hub:
    """A hub with a credential that works, one that was refused, one that needs no key, and a secret setting."""
    credentials.add(hub, credentials.NewCredential("openai", SECRET))
    refused = credentials.add(hub, credentials.NewCredential("openai", f"{SECRET}-refused"))
    catalog.mark_credential(hub.database, refused.id, catalog.FAILED, "401")
    model = own_models.OwnModel("small", "small", {"input": "0", "output": "0"})
    providers.add(hub, providers.OwnProvider("own", "http://127.0.0.1:9/v1", [model], takes_key=False))
    secrets.set(hub, secrets.SMTP_PASSWORD, MAIL)
    Bank(hub.database, hub.home).account("a", 1_000)
    return hub


def opened(hub: Hub) -> tuple[list[str], str | None]:
    """What everything that is sealed says."""
    rows = hub.database.rows("SELECT id FROM credentials ORDER BY id")
    found = [catalog.credential(hub.database, hub.vault, number).secret for (number,) in rows]
    return found, secrets.get(hub, secrets.SMTP_PASSWORD)


ALL = ([SECRET, f"{SECRET}-refused", ""], MAIL)


def test_everything_is_sealed_anew_and_the_old_key_opens_nothing(sealed, hub_settings):
    flags, old = hub_flags(hub_settings), sealed.home.master_key.read_bytes()
    before = credentials.listing(sealed)
    done = master_key.replace(sealed.home, new_key=None, lost=False, flags=flags)
    assert (done.credentials, done.secrets, done.lost_credentials, done.lost_secrets) == (3, 1, (), ())
    assert sealed.home.master_key.stat().st_mode & 0o777 == 0o600
    assert not sealed.home.next_master_key.exists()
    with Hub.open(sealed.home, flags) as hub:
        assert opened(hub) == ALL
        assert credentials.listing(hub) == before
        assert ledger.verify(hub) == []
    with pytest.raises(SetupError):
        catalog.credential(sealed.database, sealed.vault, 1)
    sealed.home.master_key.write_bytes(old)
    with pytest.raises(SetupError, match="is not the one this database was made with"):
        Hub.open(sealed.home, flags)


def test_a_key_that_is_kept_elsewhere_is_replaced_there(sealed, hub_settings, tmp_path):
    flags, place = hub_flags(hub_settings), tmp_path / "safe"
    place.mkdir()
    old = sealed.home.master_key.read_bytes()
    sealed.home.master_key.rename(place / "hub.key")
    sealed.home.master_key.symlink_to(place / "hub.key")
    master_key.replace(sealed.home, new_key=None, lost=False, flags=flags)
    assert sealed.home.master_key.is_symlink()
    assert [path.name for path in place.iterdir()] == ["hub.key"]
    assert (place / "hub.key").read_bytes() != old
    with Hub.open(sealed.home, flags) as hub:
        assert opened(hub) == ALL


@pytest.mark.parametrize("is_there", [False, True], ids=["no key", "another key"])
def test_a_lost_key_takes_with_it_what_it_sealed_and_nothing_else(sealed, hub_settings, is_there):
    flags = hub_flags(hub_settings)
    sealed.home.master_key.unlink()
    if is_there:
        sealed.home.master_key.write_bytes(base64.b64encode(bytes(32)))
        sealed.home.master_key.chmod(0o600)
    with pytest.raises(SetupError, match="if it is lost: tokenhub rekey --lost"):
        Hub.open(sealed.home, flags)
    done = master_key.replace(sealed.home, new_key=None, lost=True, flags=flags)
    assert [state.id for state in done.lost_credentials] == [1, 2]
    assert done.lost_secrets == [secrets.SMTP_PASSWORD]
    with Hub.open(sealed.home, flags) as hub:
        assert opened(hub) == (["", "", ""], None)
        assert [state.status for state in credentials.listing(hub)] == ["failed", "failed", "active"]
        assert "lost" in credentials.find(hub, 1).status_reason
        assert [one.id for one in catalog.credentials(hub.database, hub.vault)] == [3]
        credentials.rotate(hub, 1, SECRET)
        assert [one.secret for one in catalog.credentials(hub.database, hub.vault)] == [SECRET, ""]
        assert ledger.verify(hub) == []
        assert ledger.balances(hub, 1).available_nano == 1_000


@pytest.mark.parametrize("place", REKEY_FAILPOINTS)
@pytest.mark.parametrize("lost", [False, True], ids=["there", "lost"])
def test_killed_in_the_middle_the_hub_opens_with_the_key_it_was_sealed_with(sealed, hub_settings, place, lost):
    environment = process_environment(hub_settings, sealed.home)
    old = sealed.home.master_key.read_bytes()
    if lost:
        sealed.home.master_key.write_bytes(base64.b64encode(bytes(32)))
    died = Forked(
        rekey_process.replace, lost, environment={**environment, "TOKENHUB_FAILPOINT": place}, stdin=0, stdout=1
    ).wait(60)
    assert died == -signal.SIGKILL
    if lost and place == "rekey.kept":
        sealed.home.master_key.write_bytes(old)  # it was found again, and nothing has been given up
    with Hub.open(sealed.home, hub_flags(hub_settings)) as hub:
        assert opened(hub) == ((["", "", ""], None) if lost and place == "rekey.sealed" else ALL)
    again = Forked(rekey_process.replace, False, environment=environment, stdin=0, stdout=1).wait(60)
    assert again == 0
    with Hub.open(sealed.home, hub_flags(hub_settings)) as hub:
        assert not hub.home.next_master_key.exists()
        assert ledger.verify(hub) == []


def test_a_key_that_opens_is_not_lost_and_nothing_is_given_up(sealed, hub_settings):
    flags, old = hub_flags(hub_settings), sealed.home.master_key.read_bytes()
    with pytest.raises(InvalidRequest, match=r"Replace it with: tokenhub rekey$"):
        master_key.replace(sealed.home, new_key=None, lost=True, flags=flags)
    assert sealed.home.master_key.read_bytes() == old
    assert opened(sealed) == ALL


def test_a_key_that_was_given_to_a_provider_that_needs_none_is_lost_by_name_too(sealed, hub_settings):
    credentials.rotate(sealed, 3, SECRET)
    sealed.home.master_key.unlink()
    done = master_key.replace(sealed.home, new_key=None, lost=True, flags=hub_flags(hub_settings))
    assert [state.id for state in done.lost_credentials] == [1, 2, 3]
    assert {state.status for state in credentials.listing(sealed)} == {"failed"}


def test_a_gateway_that_runs_would_go_on_with_the_old_key(sealed, hub_settings):
    lease = leases.acquire(sealed.database, sealed.home, 15, clock.now_ms())
    flags = hub_flags(hub_settings)
    with pytest.raises(Conflict, match="Stop it first"):
        master_key.replace(sealed.home, new_key=None, lost=False, flags=flags)
    assert not sealed.home.next_master_key.exists()
    leases.end(sealed.database, lease)
    master_key.replace(sealed.home, new_key=None, lost=False, flags=flags)


def test_of_two_at_once_one_replaces_the_key_and_the_other_nothing(
    sealed, hub_settings, monkeypatch: pytest.MonkeyPatch
):
    flags, environment = hub_flags(hub_settings), process_environment(hub_settings, sealed.home)
    open_hub, flock, others = Hub.open, fcntl.flock, []

    def the_other_is_first(home, flags):
        hub = open_hub(home, flags)
        others.append(running.enter_context(Piped(rekey_process.replace_and_wait, environment=environment)))
        assert others[0].stdout.readline() == "rekey.sealed\n"
        return hub

    def the_other_goes_on(descriptor, operation):
        others[0].stdin.write("\n")
        others[0].stdin.flush()
        flock(descriptor, operation)

    with ExitStack() as running:
        monkeypatch.setattr(Hub, "open", the_other_is_first)
        monkeypatch.setattr(fcntl, "flock", the_other_goes_on)
        with pytest.raises(Conflict, match="has just set a new master key"):
            master_key.replace(sealed.home, new_key=None, lost=False, flags=flags)
        monkeypatch.undo()
        assert others[0].wait(30) == 0
    assert not sealed.home.next_master_key.exists()
    with Hub.open(sealed.home, flags) as hub:
        assert opened(hub) == ALL


def test_who_began_before_seals_nothing_with_the_old_key(sealed, hub_settings):
    flags = hub_flags(hub_settings)
    master_key.replace(sealed.home, new_key=None, lost=False, flags=flags)
    for change in (
        lambda: credentials.add(sealed, credentials.NewCredential("deepseek", SECRET)),
        lambda: credentials.rotate(sealed, 1, f"{SECRET}-new"),
        lambda: secrets.set(sealed, secrets.SMTP_PASSWORD, "another"),
    ):
        with pytest.raises(Conflict, match="run the command again"):
            change()
    with Hub.open(sealed.home, flags) as hub:
        assert opened(hub) == ALL


def test_t43_a_gateway_that_opened_its_home_before_does_not_begin_with_the_old_key(sealed, hub_settings):
    master_key.replace(sealed.home, new_key=None, lost=False, flags=hub_flags(hub_settings))
    with supervisor.listen("127.0.0.1", 0) as listener, pytest.raises(Conflict, match="new master key"):
        asyncio.run(Gateway.start(sealed, [listener]))
    assert not gateways.seen(sealed).runs


def test_a_secret_that_does_not_open_stops_all_of_it(sealed, hub_settings):
    with sealed.database.write():
        sealed.database.execute("UPDATE secrets SET sealed = ?", (os.urandom(60),))
    flags, old = hub_flags(hub_settings), sealed.home.master_key.read_bytes()
    with pytest.raises(SetupError, match=r"config set smtp\.password"):
        master_key.replace(sealed.home, new_key=None, lost=False, flags=flags)
    assert sealed.home.master_key.read_bytes() == old
    with Hub.open(sealed.home, flags) as hub:
        assert catalog.credential(hub.database, hub.vault, 1).secret == SECRET


def test_a_key_in_the_environment_is_replaced_by_one_from_a_file(
    sealed, hub_settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flags, new = hub_flags(hub_settings), tmp_path / "new.key"
    new.write_bytes(base64.b64encode(os.urandom(32)))
    new.chmod(0o600)
    monkeypatch.setenv("TOKENHUB_MASTER_KEY", sealed.home.master_key.read_text())
    sealed.home.master_key.rename(sealed.home.next_master_key)  # as one that was killed may have left it
    with pytest.raises(InvalidRequest, match="--new FILE"):
        master_key.replace(sealed.home, new_key=None, lost=False, flags=flags)
    master_key.replace(sealed.home, new_key=new, lost=False, flags=flags)
    assert list(sealed.home.path.glob("master.key*")) == [sealed.home.next_master_key]
    monkeypatch.setenv("TOKENHUB_MASTER_KEY", new.read_text())
    with Hub.open(sealed.home, flags) as hub:
        assert opened(hub) == ALL
