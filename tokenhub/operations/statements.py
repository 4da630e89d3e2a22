"""An account's month, from the journal and the daily lines: the same whenever it is asked for, once the month is over."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from tokenhub import clock
from tokenhub.billing import statements
from tokenhub.billing.journal import EntryKind
from tokenhub.billing.statements import SECTION_OF, Line, Section
from tokenhub.billing.statements import Statement as Statement
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.operations import dates
from tokenhub.operations.hub import Hub
from tokenhub.store import books, usage
from tokenhub.store.books import BookEntry
from tokenhub.store.usage import UsageLine

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)
_PART = re.compile(r"/(lot-[0-9]+|debt)$", re.ASCII)
_FIRST_YEAR: Final = 1970
_SECTIONS: Final = list(Section)


def parse_month(text: str) -> int:
    """Return the first millisecond of a month such as ``2026-11``; InvalidDate for anything else."""
    if _MONTH.fullmatch(text) is None or int(text[:4]) < _FIRST_YEAR:
        raise dates.InvalidDate(f"{text[:40]!r} is not a month such as 2026-11.")
    return int(datetime(int(text[:4]), int(text[5:]), 1, tzinfo=UTC).timestamp()) * 1_000


def this_month() -> int:
    """Return the first millisecond of the month that it is now."""
    return parse_month(clock.iso(clock.now_ms())[:7])


def statement(hub: Hub, account_id: int, month_ms: int) -> Statement:
    """Return an account's statement of the UTC month that begins at a moment; of one that is not over, until now.

    Raises InvalidRequest for a month to come, and NotFound for an unknown account.
    """
    now_ms, end_ms = clock.now_ms(), dates.months_later(month_ms, 1)
    if month_ms > now_ms:
        raise InvalidRequest("This month has not begun.", param="month")
    database = hub.database
    with database.read():
        owner = next(iter(books.credits(database, account_id)), None)
        if owner is None:
            raise NotFound(f"There is no account {account_id}.", param="account")
        opening = books.entered(database, account_id, month_ms) - books.charged(database, account_id, month_ms)
        closing = books.entered(database, account_id, end_ms) - books.charged(database, account_id, end_ms)
        owed = books.owed(database, account_id, end_ms)
        booked = list(books.entries(database, account_id, since_ms=month_ms, until_ms=end_ms))
        used = usage.usage(database, "model", account_id=account_id, since_ms=month_ms, until_ms=end_ms)
    lines = sorted([*_entry_lines(booked), *_usage_lines(used)], key=lambda line: _SECTIONS.index(line.section))
    return statements.shown(
        Statement(
            account=owner.name,
            month=clock.iso(month_ms)[:7],
            since_ms=month_ms,
            until_ms=min(end_ms, now_ms),
            is_complete=end_ms <= now_ms,
            opening_nano=opening,
            closing_nano=closing,
            owed_nano=owed,
            lines=lines,
        )
    )


def _entry_lines(entries: Iterable[BookEntry]) -> Iterator[Line]:
    """Return a line for each event: its parts in several lots, and in debt, are one; what moved nothing is none."""
    events: dict[tuple[str, str], list[BookEntry]] = {}
    for entry in entries:
        events.setdefault((entry.kind, _event(entry)), []).append(entry)
    for (kind, event), parts in events.items():
        amount = sum(part.amount_nano for part in parts)
        if amount:
            section = SECTION_OF.get(EntryKind(kind), Section.OTHER)
            yield Line(section, event, amount, at_ms=parts[0].created_at_ms, note=_note(parts[0]))


def _event(entry: BookEntry) -> str:
    """Return what names an entry's event: its reference without the part, or the lot that expired.

    Repayments are one event: what they take from lots they take from debt, so they come to nothing.
    """
    if entry.kind == EntryKind.REPAYMENT:
        return "repayments"
    if entry.kind == EntryKind.EXPIRY:
        return f"lot {entry.lot_id}"
    return entry.ref if entry.kind == EntryKind.GRANT else _PART.sub("", entry.ref)


def _note(entry: BookEntry) -> str:
    if entry.currency is not None and entry.paid_total is not None:
        return f"paid {entry.paid_total // 100}.{entry.paid_total % 100:02d} {entry.currency.upper()}"
    return entry.note


def _usage_lines(used: Iterable[UsageLine]) -> Iterator[Line]:
    """Return a line for each model that cost something."""
    for line in used:
        if line.total_nano:
            yield Line(
                Section.USAGE,
                line.group,
                -line.total_nano,
                requests=line.requests,
                model_fee_nano=-line.model_fee_nano,
                service_fee_nano=-line.service_fee_nano,
            )
