"""Credentials at rest: sealed for their row alone (T43), and what a change of one bumps."""

import pytest

from tokenhub.catalog.load import Override
from tokenhub.errors import NotFound, SetupError
from tokenhub.operations import credentials
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.store import accounts as accounts_store
from tokenhub.store import catalog as store
from tokenhub.store.database import StoreRejected

SECRET = "sk-canary-0123456789-abcdefghij"


def add(hub: Hub, secret: str = SECRET, provider: str = "openai", **options: str) -> int:
    return credentials.add(hub, NewCredential(provider, secret, **options)).id  # type: ignore[arg-type]


def test_active_credentials_are_returned_opened(hub: Hub) -> None:
    first = add(hub, label="main", base_url="https://proxy.example/v1")
    second = add(hub, "sk-ant-another-secret-of-length", "anthropic")
    third = add(hub, "sk-off-another-secret-of-length")
    credentials.set_status(hub, third, store.DISABLED)
    found = store.credentials(hub.database, hub.vault)
    assert [one.id for one in found] == [first, second]
    assert found[0].secret == SECRET
    assert (found[0].provider, found[0].region, found[0].label) == ("openai", "global", "main")
    assert found[0].base_url == "https://proxy.example/v1"
    assert SECRET not in repr(found)


def test_t43_no_secret_stands_in_the_database_files(hub: Hub) -> None:
    add(hub)
    rows = hub.database.rows("SELECT * FROM credentials")
    assert SECRET.encode() not in b"".join(
        bytes(part) if isinstance(part, bytes | memoryview) else str(part).encode() for part in rows[0]
    )
    for path in hub.home.path.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("place", [0, 1, 20, -1])
def test_t43_a_flipped_byte_is_noticed(hub: Hub, place: int) -> None:
    add(hub)
    ((sealed,),) = hub.database.rows("SELECT sealed FROM credentials")
    broken = bytearray(sealed)
    broken[place] ^= 1
    with hub.database.write():
        hub.database.execute("UPDATE credentials SET sealed = ?", (bytes(broken),))
    with pytest.raises(SetupError):
        store.credentials(hub.database, hub.vault)


@pytest.mark.parametrize(
    ("column", "value"), [("provider", "anthropic"), ("region", "eu"), ("base_url", "https://evil.example/v1")]
)
def test_t43_a_row_that_is_pointed_elsewhere_no_longer_opens(hub: Hub, column: str, value: str) -> None:
    add(hub)
    with hub.database.write():
        hub.database.execute(f"UPDATE credentials SET {column} = ?", (value,))
    with pytest.raises(SetupError):
        store.credentials(hub.database, hub.vault)


def test_t43_two_rows_that_were_swapped_no_longer_open(hub: Hub) -> None:
    first, second = add(hub), add(hub, "sk-another-secret-of-some-length")
    sealed = dict(hub.database.rows("SELECT id, sealed FROM credentials"))
    with hub.database.write():
        for one, other in ((first, second), (second, first)):
            hub.database.execute("UPDATE credentials SET sealed = ? WHERE id = ?", (bytes(sealed[other]), one))
    with pytest.raises(SetupError):
        store.credentials(hub.database, hub.vault)


def test_a_failed_mark_raises_the_catalogue_once_and_leaves_the_operators_decision(hub: Hub) -> None:
    active, disabled = add(hub), add(hub, "sk-another-secret-of-some-length")
    credentials.set_status(hub, disabled, store.DISABLED)
    catalog = accounts_store.versions(hub.database)[1]
    assert store.mark_credential(hub.database, active, store.FAILED, "auth 401")
    assert not store.mark_credential(hub.database, active, store.FAILED, "auth 401")
    assert not store.mark_credential(hub.database, disabled, store.FAILED, "auth 401")
    assert accounts_store.versions(hub.database)[1] == catalog + 1
    states = {state.id: state for state in store.credential_states(hub.database)}
    assert (states[active].status, states[active].status_reason) == (store.FAILED, "auth 401")
    assert states[disabled].status == store.DISABLED
    assert store.credentials(hub.database, hub.vault) == []


def test_a_short_secret_shows_nothing_of_itself(hub: Hub) -> None:
    assert store.credential_state(hub.database, add(hub, "short-secret")).hint == ""  # type: ignore[union-attr]
    assert store.credential_state(hub.database, add(hub)).hint == "ghij"  # type: ignore[union-attr]


def test_an_agreement_on_data_is_kept_with_its_credential_until_it_is_taken_back(hub: Hub) -> None:
    first, second = add(hub, data_policy="no_retention"), add(hub, "sk-another-secret-of-some-length")
    catalog = accounts_store.versions(hub.database)[1]
    credentials.set_data_policy(hub, second, "unknown")
    assert [one.data_policy for one in store.credentials(hub.database, hub.vault)] == ["no_retention", "unknown"]
    assert accounts_store.versions(hub.database)[1] == catalog + 1
    credentials.rotate(hub, first, "sk-the-next-secret-of-some-length")
    credentials.set_data_policy(hub, second, None)
    assert [one.data_policy for one in credentials.listing(hub)] == ["no_retention", None]
    assert store.credential(hub.database, hub.vault, first).data_policy == "no_retention"
    policies = credentials.data_policies(hub, credentials.listing(hub))
    assert [(one.policy, one.by) for one in policies.values()] == [
        ("no_retention", "operator"),
        ("no_training", "provider"),
    ]
    with pytest.raises(NotFound):
        credentials.set_data_policy(hub, 99, "no_training")


def test_t104_an_agreement_that_does_not_exist_is_stored_nowhere(hub: Hub) -> None:
    with pytest.raises(StoreRejected):
        add(hub, data_policy="never")
    assert credentials.listing(hub) == []


def test_an_override_is_replaced_and_taken_back(hub: Hub) -> None:
    with hub.database.write():
        store.put_override(
            hub.database, Override("price", "openai/gpt-4o", {"price": {"input": "1", "output": "2"}}), 1
        )
        store.put_override(
            hub.database, Override("price", "openai/gpt-4o", {"price": {"input": "3", "output": "4"}}), 2
        )
    assert [one.data["price"]["input"] for one in store.overrides(hub.database)] == ["3"]
    with hub.database.write():
        assert store.delete_override(hub.database, "price", "openai/gpt-4o")
        assert not store.delete_override(hub.database, "price", "openai/gpt-4o")
    assert store.overrides(hub.database) == []
