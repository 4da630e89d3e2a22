"""The books in beancount's language (beancount.github.io): double entry, each transaction balanced, balances asserted.

The operator's view. Credit that customers have is a liability, what they owe a receivable; sold
credit comes in as payments, given credit is an expense; fees are income when they are charged,
and so is credit that expires. The file ends with every account's balance as the ledger has it,
so that ``bean-check`` proves the whole.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from tokenhub.billing.daily import DailyLine, FeeKind
from tokenhub.billing.journal import EntryKind
from tokenhub.billing.periods import DAY_MS
from tokenhub.money import exact
from tokenhub.store import books
from tokenhub.store.books import BookEntry, Credit
from tokenhub.store.database import Database

PAYMENTS: Final = "Assets:Payments"
GRANTS: Final = "Expenses:Grants"
BREAKAGE: Final = "Income:Breakage"
REPAYMENTS: Final = "Equity:Repayments"
OPENING: Final = "Equity:Opening-Balances"
FEES: Final = {FeeKind.MODEL.value: "Income:Fees:Model", FeeKind.SERVICE.value: "Income:Fees:Service"}

_OTHER_SIDE: Final = {
    EntryKind.GRANT.value: GRANTS,
    EntryKind.EXPIRY.value: BREAKAGE,
    EntryKind.REPAYMENT.value: REPAYMENTS,
}
"""Of every other kind it is payments: top-ups, refunds, disputes, and what came back of them."""

_FIRST_DAY: Final = "1970-01-01"


def file(database: Database, since_ms: int, account_id: int | None, now_ms: int) -> Iterator[str]:
    """Return the file piece by piece, inside the caller's read: accounts, opening balances, journal, charges, balances."""
    owners = books.credits(database, account_id)
    yield 'option "title" "TokenHub"\noption "operating_currency" "USD"\n\n'
    for account in (PAYMENTS, GRANTS, BREAKAGE, REPAYMENTS, OPENING, *FEES.values()):
        yield f"{_FIRST_DAY} open {account} USD\n"
    for owner in owners:
        yield f"{_FIRST_DAY} open {_credit(owner.account_id)} USD\n  name: {_text(owner.name)}\n"
        yield f"{_FIRST_DAY} open {_debt(owner.account_id)} USD\n  name: {_text(owner.name)}\n"
    for owner in owners:
        yield from _opening(database, owner, since_ms)
    last_ms = now_ms
    for entry in books.entries(database, account_id, since_ms=since_ms):
        last_ms = max(last_ms, entry.created_at_ms)
        yield _entry(entry)
    for line in books.lines(database, account_id, since_ms=since_ms):
        last_ms = max(last_ms, line.day_ms)
        if line.amount_nano:
            yield _charge(line)
    for owner in owners:
        yield _balances(owner, _date(last_ms + DAY_MS))


def _credit(account_id: int) -> str:
    return f"Liabilities:Credit:Account-{account_id}"


def _debt(account_id: int) -> str:
    return f"Assets:Receivable:Account-{account_id}"


def _opening(database: Database, owner: Credit, since_ms: int) -> Iterator[str]:
    """Return what an account had and owed when the export begins."""
    owed = books.owed(database, owner.account_id, since_ms)
    kept = (
        owed + books.entered(database, owner.account_id, since_ms) - books.charged(database, owner.account_id, since_ms)
    )
    date = _date(since_ms - DAY_MS) if since_ms else _FIRST_DAY
    for account, amount in ((_credit(owner.account_id), -kept), (_debt(owner.account_id), owed)):
        if amount:
            yield _transaction(date, f"Balance of {owner.name}", {}, account, amount, OPENING)


def _entry(entry: BookEntry) -> str:
    account = _debt(entry.account_id) if entry.lot_id is None else _credit(entry.account_id)
    about: dict[str, object] = {"entry": entry.id, "ref": entry.ref} | ({"lot": entry.lot_id} if entry.lot_id else {})
    other = _OTHER_SIDE.get(entry.kind, PAYMENTS)
    text = f"{entry.kind} {entry.note}".strip()
    return _transaction(_date(entry.created_at_ms), text, about, account, -entry.amount_nano, other)


def _charge(line: DailyLine) -> str:
    about: dict[str, object] = {
        "key": line.key_id,
        "provider": line.provider,
        "lot": line.lot_id,
        "requests": line.requests,
    }
    text = f"{line.kind} {line.model}"
    return _transaction(_date(line.day_ms), text, about, _credit(line.account_id), line.amount_nano, FEES[line.kind])


def _balances(owner: Credit, date: str) -> str:
    """Return the assertions: beancount checks them at the beginning of their day."""
    credit = f"{date} balance {_credit(owner.account_id)}  {exact(-owner.kept)} USD\n"
    return f"{credit}{date} balance {_debt(owner.account_id)}  {exact(owner.debt)} USD\n"


def _transaction(date: str, text: str, about: dict[str, object], account: str, amount: int, other: str) -> str:
    """Return a transaction of two postings: an amount in nano-USD on one account, its opposite on the other."""
    facts = "".join(f"  {name}: {_text(str(value))}\n" for name, value in about.items() if value != "")
    return f"\n{date} * {_text(text)}\n{facts}  {account}  {exact(amount)} USD\n  {other}  {exact(-amount)} USD\n"


def _text(text: str) -> str:
    """Return a string as beancount reads it; what cannot be printed is left out."""
    kept = "".join(char if char.isprintable() else " " for char in text)
    return '"' + kept.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _date(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1_000, UTC).strftime("%Y-%m-%d")
