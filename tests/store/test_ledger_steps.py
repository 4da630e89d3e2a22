"""The rules of the ledger as tables of steps: ``ledger/*.txt``, each run on both databases, one ``==`` story at a time.

    account NAME CREDIT [until TIME]            an account with the key NAME
    key KEY of NAME [limit N per PERIOD]        another key of it
    grant NAME REF CREDIT [until TIME]
    set TABLE ROW COLUMN VALUE                  what management changes
    at TIME                                     the clock, such as +3d, +90m, -1h from the start
    place ID KEY WANTED [field=N …]             -> placed 600 | placed 600 limit 12 | refused …
    settle ID KEY MODEL_FEE+SERVICE_FEE         -> settled 300+9 | released, and "again" when it had ended before
    release ID                                  -> released
    balance NAME                                -> available N held N expires TIME
    lot REF                                     -> available N held N spent N expired N
    shortfall ID                                -> N
    sweep                                       due lots expire

Lines after ``batch``, indented, are one batch. ``plan ID KEY WANTED …`` keeps a place as planned now; ``place ID`` sends it
later. Every invariant is checked after every step. What comes back is expected with or without ``_`` between digits.
``test_payment_steps.py`` has the steps of payments.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.bank import NOW, PLAN, Bank
from tokenhub.billing.holds import End, Ended, Operation, Outcome, Place, Placed, Refusal, Refused
from tokenhub.store import ledger, requests

FOLDER = Path(__file__).parent / "ledger"
UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}


def stories(file: Path) -> Iterator[tuple[str, list[str]]]:
    for title, body in re.findall(r"^== (.+)\n((?:(?!== ).*\n?)*)", file.read_text(encoding="utf-8"), re.MULTILINE):
        yield title, [line.rstrip() for line in body.splitlines() if line.strip() and line[0] != "#"]


class Teller:
    """Does the steps of one story and says what came of each in the table's words."""

    def __init__(self, bank: Bank, number: int) -> None:
        self.bank = bank
        self.number = number
        """Names what the story makes, so that stories can share a database."""
        self.now_ms = NOW
        self.accounts: dict[str, int] = {}
        self.planned: dict[str, Place] = {}

    def do(self, step: str) -> str | None:
        verb, *words = step.split()
        if verb in ("place", "settle", "release"):
            (outcome,) = self.bank.apply(self.operation(step), now_ms=self.now_ms)
            return told(outcome)
        return getattr(self, verb)(*words)

    def own(self, name: str) -> str:
        return f"{self.number}.{name}"

    def operation(self, step: str) -> Operation:
        verb, request_id, *words = step.split()
        if verb == "place":
            return self.planned.pop(request_id, None) or self.place(request_id, *words)
        if verb == "settle":
            key, fees = words
            model_fee, _, service_fee = fees.partition("+")
            return self.bank.settle(self.own(request_id), self.own(key), int(model_fee), int(service_fee or 0))
        return self.bank.release(self.own(request_id))

    def place(self, request_id: str, key: str, wanted: str, *fields: str) -> Place:
        values = {name: int(value) for name, _, value in (field.partition("=") for field in fields)}
        return self.bank.place(self.own(request_id), self.own(key), int(wanted), **values)

    def plan(self, request_id: str, *words: str) -> None:
        self.planned[request_id] = self.place(request_id, *words)

    def account(self, name: str, credit: str, *until: str) -> None:
        self.accounts[name] = self.bank.account(self.own(name), keys=0)
        self.bank.key(self.accounts[name], self.own(name))
        if int(credit):
            self.grant(name, name, credit, *until)

    def key(self, key: str, _of: str, name: str, *limit: str) -> None:
        columns = {"spend_limit": int(limit[1]), "spend_period": limit[3]} if limit else {}
        self.bank.key(self.accounts[name], self.own(key), **columns)

    def grant(self, name: str, ref: str, credit: str, *until: str) -> None:
        expires_at = self.time(until[1]) if until else None
        ledger.grant(self.bank.database, self.accounts[name], int(credit), self.own(ref), expires_at, "", self.now_ms)

    def set(self, table: str, row: str, column: str, value: str) -> None:
        rows = {"accounts": self.accounts.get(row), "keys": self.own(row), "plans": PLAN, "installation": 1}
        changed = self.time(value) if column.endswith("_at") else int(value) if value.isdigit() else value
        self.bank.set(table, rows[table], **{column: changed})

    def at(self, time: str) -> None:
        self.now_ms = self.time(time)

    def sweep(self) -> None:
        ledger.expire_due(self.bank.database, self.now_ms)

    def balance(self, name: str) -> str:
        found = ledger.balances(self.bank.database, self.accounts[name])
        expires = "never" if found.next_expiry_ms is None else f"{(found.next_expiry_ms - NOW) / UNITS_MS['d']:+g}d"
        assert found.posted_nano == found.available_nano + found.held_nano
        return f"available {found.available_nano} held {found.held_nano} expires {expires}"

    def lot(self, ref: str) -> str:
        row = self.bank.database.row("SELECT available, held, spent, expired FROM lots WHERE ref = ?", (self.own(ref),))
        assert row is not None
        return "available {} held {} spent {} expired {}".format(*row)

    def shortfall(self, request_id: str) -> str:
        found = requests.one(self.bank.database, self.own(request_id))
        assert found is not None
        return str(found.shortfall)

    def time(self, text: str) -> int:
        return NOW + round(float(text[:-1]) * UNITS_MS[text[-1]])


def told(outcome: Outcome) -> str:
    match outcome:
        case Placed(amount, limit):
            return f"placed {amount}" + (f" limit {limit}" if limit is not None else "")
        case Ended(end, _, model_fee, service_fee, first):
            fees = f" {model_fee}+{service_fee}" if end is End.SETTLED else ""
            return f"{end}{fees}{'' if first else ' again'}"
        case Refused(reason, retry_after_s, required, available, scope):
            words = [f"refused {reason}", scope, f"needs {required} has {available}" if required else ""]
            if reason is Refusal.RATE_LIMITED:
                assert 55 <= retry_after_s <= 61, "the table's requests are all of the last few seconds"
            elif retry_after_s:
                words.append(f"retry {retry_after_s}")
            return " ".join(filter(None, words))


def tell(title: str, steps: list[str], teller: Teller) -> None:
    batch: list[tuple[str, str]] | None = None
    for line in [*steps, "end"]:
        step, _, expected = (part.strip() for part in line.partition("->"))
        expected = re.sub(r"(?<=\d)_(?=\d)", "", expected)
        if batch is not None and line[0] == " ":
            batch.append((step, expected))
            continue
        if batch is not None:
            outcomes = teller.bank.apply(*(teller.operation(step) for step, _ in batch), now_ms=teller.now_ms)
            assert [told(outcome) for outcome in outcomes] == [expected for _, expected in batch], title
            teller.bank.check()
        batch = [] if step == "batch" else None
        if step not in ("batch", "end"):
            assert (teller.do(step) or "") == expected, f"{title}: {step}"
            teller.bank.check()


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.txt")), ids=lambda file: file.stem)
def test_ledger_follows_its_tables_of_steps(file, database, home):
    bank = Bank(database, home)
    told_stories = [tell(title, steps, Teller(bank, number)) for number, (title, steps) in enumerate(stories(file))]
    assert len(told_stories) > 5
