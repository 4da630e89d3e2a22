"""Accounts: create, find, list, change, disable."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tokenhub import clock
from tokenhub.accounts.accounts import Account, AccountStatus, Plan
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.operations import plans
from tokenhub.operations.hub import Hub
from tokenhub.store import accounts as store
from tokenhub.store import revision
from tokenhub.store.accounts import AccountState as AccountState
from tokenhub.store.database import StoreRejected

DEFAULT_PLAN: Final = "starter"

_NAME_LENGTH: Final = 100
_LISTED: Final = 20


def create(hub: Hub, name: str, *, plan: str = DEFAULT_PLAN, email: str | None = None) -> AccountState:
    """Add an account; its name, which must be free, is kept in NFC: what reads alike is the same name."""
    name = unicodedata.normalize("NFC", name)
    check_name(name)
    check_email(email)
    now_ms = clock.now_ms()
    try:
        with revision.change(hub.database):
            plans.existing(hub.database, plan)
            if store.account_named(hub.database, name) is not None:
                raise _taken(name)
            account_id = store.insert_account(hub.database, name, plan, email, now_ms)
            return store.account_state(hub.database, account_id, now_ms)
    except StoreRejected as error:
        if error.reason == "unique":
            raise _taken(name) from error
        raise


def _taken(name: str) -> Conflict:
    return Conflict(
        f"There is an account {name!r} already. Choose another name, or change it with: tokenhub accounts set"
    )


def check_name(name: str) -> None:
    """Refuse a name that cannot be typed, read or told from an id."""
    if not name.isprintable() or not 0 < len(name) <= _NAME_LENGTH or name != name.strip() or name.isdigit():
        raise InvalidRequest(
            f"{name[:40]!r} cannot name an account: use 1 to {_NAME_LENGTH} printable characters, not only digits, "
            "without space at either end.",
            param="name",
        )


def check_email(email: str | None) -> None:
    """Refuse what no notice could be sent to."""
    if email is None:
        return
    from tokenhub.operations import forms

    try:
        forms.mail_address(email)
    except ValueError:
        raise InvalidRequest(f"{email[:40]!r} is not an e-mail address.", param="email") from None


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for an account: its own agreement where there is one, else its plan."""

    fee_bp: int
    key_rpm: int
    account_rpm: int
    concurrency: int


def terms_of(account: Account, plan: Plan) -> Terms:
    """Return the fee and the limits that hold for an account."""
    own = {name: getattr(account, name) for name in Terms.__slots__}
    return Terms(**{name: getattr(plan, name) if value is None else value for name, value in own.items()})


def the_account(hub: Hub, name: str | None = None, *, how: str = "--account NAME") -> Account:
    """Return the account of this name or id; without a name, the one account there is.

    ``how`` says, where there are several, the way to name one.
    """
    with hub.database.read():
        return _named(hub, name) if name is not None else _only(hub, how)


def names_by_id(hub: Hub) -> dict[str, str]:
    """Return every account's name by its id as a text."""
    return store.names_by_id(hub.database)


def id_of(hub: Hub, name: str | None) -> int | None:
    """Return the id of the account that a list is narrowed to; without a name, None: all of them."""
    return None if name is None else the_account(hub, name).id


def _named(hub: Hub, name: str) -> Account:
    account = store.account_named(hub.database, name)
    if account is None and not unicodedata.is_normalized("NFC", name):
        account = store.account_named(hub.database, unicodedata.normalize("NFC", name))
    if account is None and name.isascii() and name.isdigit() and len(name) < 19:
        account = store.account_by_id(hub.database, int(name))
    if account is None:
        raise NotFound(f"There is no account {name[:_NAME_LENGTH]!r}. See: tokenhub accounts list")
    return account


def _only(hub: Hub, how: str) -> Account:
    names = store.account_names(hub.database, _LISTED + 1)
    if not names:
        raise NotFound("There is no account yet. Create one: tokenhub accounts create NAME")
    if len(names) > 1:
        listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
        raise InvalidRequest(f"There are several accounts; say which with {how}: {listed}", param="account")
    return _named(hub, names[0])


def state(hub: Hub, account_id: int) -> AccountState:
    """Return an account with its balance."""
    return store.account_state(hub.database, account_id, clock.now_ms())


def listing(hub: Hub) -> list[AccountState]:
    """Return every account with its balance, the oldest first."""
    return store.account_states(hub.database, clock.now_ms())


def change(hub: Hub, account_id: int, changes: Mapping[str, Any]) -> AccountState:
    """Change plan, email, fee_bp, key_rpm, account_rpm, concurrency or low_balance.

    None gives up a value of its own for the plan's, and the notice of a low balance.
    """
    if not changes:
        raise InvalidRequest("Nothing to change: name at least one option. See: tokenhub accounts set --help")
    check_email(changes.get("email"))
    with revision.change(hub.database):
        if "plan" in changes:
            plans.existing(hub.database, changes["plan"] or DEFAULT_PLAN)
        store.change_account(hub.database, account_id, {**changes, **_plan_of(changes)})
        return store.account_state(hub.database, account_id, clock.now_ms())


def _plan_of(changes: Mapping[str, Any]) -> dict[str, str]:
    return {"plan": changes["plan"] or DEFAULT_PLAN} if "plan" in changes else {}


def set_status(hub: Hub, account_id: int, status: AccountStatus) -> AccountState:
    """Disable or enable an account; every process refuses, or takes, its next request (T45)."""
    with revision.change(hub.database):
        store.change_account(hub.database, account_id, {"status": status.value})
        return store.account_state(hub.database, account_id, clock.now_ms())
