"""Grants, the ledger and reports as the doors use them."""

import pytest

from tokenhub import clock
from tokenhub.billing.periods import DAY_MS
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.operations import accounts, dates, grants, ledger, usage
from tokenhub.operations.hub import Hub
from tokenhub.store.database import Database


@pytest.fixture
def account_id(hub: Hub) -> int:
    return accounts.create(hub, "acme").account.id


def test_credit_is_valid_for_twelve_calendar_months(hub: Hub, account_id: int) -> None:
    now_ms = clock.now_ms()
    lot = grants.grant(hub, account_id, 5, expires_at_ms=grants.default_expiry_ms(now_ms))
    assert lot.expires_at_ms == dates.months_later(now_ms, 12)


def test_t124_a_grant_that_names_itself_is_booked_once_however_often_it_is_asked_for(hub: Hub, account_id: int) -> None:
    lots = {grants.grant(hub, account_id, 5, expires_at_ms=None, ref="invoice 7").id for _ in range(3)}
    assert len(lots) == 1
    assert accounts.state(hub, account_id).available_nano == 5
    with pytest.raises(Conflict):
        grants.grant(hub, account_id, 6, expires_at_ms=None, ref="invoice 7")
    for _ in range(2):
        grants.grant(hub, account_id, 5, expires_at_ms=None)
    assert accounts.state(hub, account_id).available_nano == 15


@pytest.mark.parametrize("amount", [0, -1, 2**62 + 1, 2**63, 1.5, True, "5"])
def test_t16_t29_an_amount_that_cannot_be_booked_writes_nothing(hub: Hub, account_id: int, amount: object) -> None:
    with pytest.raises(InvalidRequest):
        grants.grant(hub, account_id, amount, expires_at_ms=None)  # type: ignore[arg-type]
    assert ledger.statement(hub, account_id, limit=10).lots == []


@pytest.mark.parametrize(
    ("note", "ref"), [("a\nb", None), ("x" * 201, None), ("", "a\x1b"), ("", "x" * 201), ("\x00", None)]
)
def test_t98_a_text_that_cannot_be_kept_or_shown_is_refused(
    hub: Hub, account_id: int, note: str, ref: str | None
) -> None:
    with pytest.raises(InvalidRequest):
        grants.grant(hub, account_id, 5, expires_at_ms=None, note=note, ref=ref)
    assert ledger.statement(hub, account_id, limit=10).lots == []


def test_an_account_never_holds_more_than_can_be_counted(hub: Hub, account_id: int) -> None:
    grants.grant(hub, account_id, 2**62, expires_at_ms=None)
    with pytest.raises(InvalidRequest):
        grants.grant(hub, account_id, 1, expires_at_ms=None)
    assert accounts.state(hub, account_id).available_nano == 2**62


def test_a_grant_to_nobody_is_refused(hub: Hub) -> None:
    with pytest.raises(NotFound):
        grants.grant(hub, 99, 5, expires_at_ms=None)


def test_a_statement_shows_lots_as_they_are_drawn_and_the_newest_entries(hub: Hub, account_id: int) -> None:
    now_ms = clock.now_ms()
    never = grants.grant(hub, account_id, 1, expires_at_ms=None)
    late = grants.grant(hub, account_id, 2, expires_at_ms=now_ms + 2 * DAY_MS)
    soon = grants.grant(hub, account_id, 3, expires_at_ms=now_ms + DAY_MS, note="soon")
    found = ledger.statement(hub, account_id, limit=2)
    assert [lot.id for lot in found.lots] == [soon.id, late.id, never.id]
    assert [entry.amount_nano for entry in found.entries] == [3, 2]
    assert found.balances.available_nano == 6


def test_verify_names_the_row_that_is_wrong(hub: Hub, account_id: int) -> None:
    grants.grant(hub, account_id, 100, expires_at_ms=None)
    assert ledger.verify(hub) == []
    with hub.database.write():
        hub.database.execute("UPDATE accounts SET available = available + 1")
    found = ledger.verify(hub)
    assert [one.subject for one in found] == [f"account {account_id}"]
    assert "101" in found[0].message or "0.000000101" in found[0].message


def request(hub: Hub, account_id: int, number: int, **columns: object) -> None:
    """Write one settled request, as the writer leaves it."""
    numbers = dict.fromkeys(
        [
            "streamed",
            "status",
            "cache_read_tokens",
            "cache_write_tokens",
            "cache_write_1h_tokens",
            "audio_input_tokens",
            "image_input_tokens",
            "reasoning_tokens",
            "image_output_tokens",
            "unknown_tokens",
            "estimated",
            "cancelled",
            "shortfall",
            "fee_bp",
            "duration_ms",
        ],
        0,
    )
    row = {
        "id": f"req_{number:026}", "account_id": account_id, "key_id": "key_1", "end": "settled", "started_at": number, "ended_at": number,
        "capability": "chat", "model": "gpt-4o", "provider": "openai", "input_tokens": 100, "output_tokens": 10, "held": 500, "model_fee": 100,
        "service_fee": 3, "charged": 103, "attempts": "[]", **numbers, **columns,
    }  # fmt: skip
    names = ", ".join(f'"{name}"' for name in row)
    with hub.database.write():
        hub.database.execute(
            f"INSERT INTO requests ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
        )


def test_usage_is_added_up_by_what_is_asked_for(hub: Hub, account_id: int) -> None:
    other = accounts.create(hub, "globex").account.id
    day = DAY_MS
    request(hub, account_id, 10 * day + 1)
    request(hub, account_id, 10 * day + 2, model="gpt-4o-mini")
    request(hub, other, 11 * day + 1, provider="azure", key_id="key_2")
    by_day = usage.report(hub, "day", since_ms=0).lines
    assert [(line.name, line.sums.requests, line.sums.total_nano) for line in by_day] == [
        ("1970-01-11", 2, 206),
        ("1970-01-12", 1, 103),
    ]
    assert [(line.name, line.sums.requests) for line in usage.report(hub, "account", since_ms=None).lines] == [
        ("acme", 2),
        ("globex", 1),
    ]
    assert [line.sums.group for line in usage.report(hub, "model", since_ms=None).lines] == ["gpt-4o", "gpt-4o-mini"]
    assert [line.sums.group for line in usage.report(hub, "provider", since_ms=11 * day).lines] == ["azure"]
    mine = usage.report(hub, "key", since_ms=None, account_id=account_id).lines
    assert [line.sums.group for line in mine] == ["key_1"]
    total = usage.total(by_day).sums
    assert (total.requests, total.prompt_tokens, total.output_tokens, total.total_nano) == (3, 300, 30, 309)
    assert usage.total([]).sums.requests == 0
    assert usage.total([]).cache_hit_rate is None


def test_usage_counts_output_of_every_kind(hub: Hub, account_id: int) -> None:
    request(hub, account_id, 1, image_output_tokens=1000, unknown_tokens=60, audio_input_tokens=5)
    (line,) = usage.report(hub, "model", since_ms=0).lines
    assert (line.sums.prompt_tokens, line.sums.output_tokens) == (105, 1070)


def test_usage_by_session_shows_the_dearest_first_with_what_caches_saved(hub: Hub, account_id: int) -> None:
    for number in range(3):
        session = bytes([number]) * 16 if number else None
        for each in range(number + 1):
            request(
                hub, account_id, 10 * number + each, session=session, cache_read_tokens=300 * number, saved=5 * number
            )
    lines = usage.report(hub, "session", since_ms=0).lines
    assert [(line.name, line.sums.group, line.sums.requests) for line in lines] == [
        ("02" * 6, "02" * 16, 3),
        ("01" * 6, "01" * 16, 2),
        ("none", "", 1),
    ]
    assert [(line.cache_hit_rate, line.sums.saved_nano) for line in lines] == [(600 / 700, 30), (0.75, 10), (0.0, 0)]
    total = usage.total(lines)
    assert (total.sums.requests, total.sums.cached_tokens, total.sums.saved_nano) == (6, 2400, 40)
    assert total.cache_hit_rate == 0.8


def test_a_followed_list_shows_each_request_once_in_the_order_of_their_ends(hub: Hub, account_id: int) -> None:
    from tokenhub.operations import requests

    now_ms = hub.database.now_ms()
    for number in range(3):
        request(hub, account_id, now_ms - 60_000 + number)
    stream = requests.follow(hub, requests.RequestFilter(), limit=2, poll_s=0.0)
    assert [next(stream).ended_at for _ in range(2)] == [now_ms - 59_999, now_ms - 59_998]
    for number in (5, 3, 4):
        request(hub, account_id, now_ms + number)
    assert [next(stream).ended_at - now_ms for _ in range(3)] == [3, 4, 5]
    request(hub, account_id, now_ms + 1)
    assert next(stream).ended_at == now_ms + 1
    stream.close()


def test_a_followed_list_goes_on_after_a_pause_where_it_was(
    hub: Hub, account_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped, a terminal that took no more lines, a laptop that slept."""
    from tokenhub.operations import requests

    monkeypatch.setattr(requests, "_PAGE", 2)
    now_ms = hub.database.now_ms()
    request(hub, account_id, now_ms)
    stream = requests.follow(hub, requests.RequestFilter(), limit=1, poll_s=0.0)
    assert next(stream).ended_at == now_ms
    later = [now_ms + seconds * 1000 for seconds in (-1, 1, 20, 40, 60, 119)]
    for ended_at in later:
        request(hub, account_id, ended_at)
    monkeypatch.setattr(Database, "now_ms", lambda _: now_ms + 120_000)
    assert [next(stream).ended_at for _ in later] == later
    stream.close()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_t99_a_followed_list_lacks_nothing_where_the_clock_is_ahead(
    hub: Hub, account_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenhub.operations import requests

    machine_ms = clock.now_ms
    monkeypatch.setattr(clock, "now_ms", lambda: machine_ms() + 3_600_000)
    now_ms = hub.database.now_ms()
    request(hub, account_id, now_ms)
    stream = requests.follow(hub, requests.RequestFilter(), limit=1, poll_s=0.0)
    assert next(stream).ended_at == now_ms
    for ended_at in (now_ms + 1, clock.now_ms()):
        request(hub, account_id, ended_at)
    assert next(stream).ended_at == now_ms + 1
    stream.close()


def test_a_request_is_found_by_its_own_id_and_by_the_providers(hub: Hub, account_id: int) -> None:
    from tokenhub.operations import requests

    request(hub, account_id, 7, upstream_id="chatcmpl-1")
    assert requests.find(hub, f"req_{7:026}").upstream_id == "chatcmpl-1"
    assert requests.find(hub, "chatcmpl-1").id == f"req_{7:026}"
    assert requests.wait_for(hub, "chatcmpl-1", poll_s=0.0).id == f"req_{7:026}"
    with pytest.raises(NotFound, match="requests list"):
        requests.find(hub, "req_nowhere")
