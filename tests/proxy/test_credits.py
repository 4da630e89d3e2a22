"""``GET /v1/credits``: all that an account's money can be, exactly."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.fakes.upstream import FakeUpstream, json_reply, openai_chat
from tests.harness import start_gateway, temporary_home
from tokenhub import clock
from tokenhub.billing.journal import EntryKind
from tokenhub.operations import grants
from tokenhub.store import ledger


def test_credits_show_balance_held_frozen_debt_and_next_expiry(tmp_path: Path) -> None:
    running = start_gateway(temporary_home(tmp_path), credit_nano=0)
    try:
        with FakeUpstream(lambda _request: json_reply(openai_chat())) as upstream:
            running.add_credential("openai", upstream.url)
            expires_at_ms = clock.now_ms() + 3_600_000
            grants.grant(running.hub, running.account_id, 10 * 10**9, expires_at_ms=expires_at_ms)
            assert running.chat("gpt-4o-mini").status == 200
            running.settled()
        (lot,) = ledger.lots_of(running.hub.database, running.account_id)
        now_ms = clock.now_ms()
        with running.hub.database.write():
            ledger.freeze(running.hub.database, lot.id, 4 * 10**9, now_ms)
        shown = running.call("GET", "/v1/credits").json()
        assert shown["data"] == {name: value for name, value in shown.items() if name != "data"}
        spent = Decimal(shown["total_used"])
        assert spent > 0
        assert Decimal(shown["balance"]) == 6 - spent
        assert _left(shown) == 10 - spent
        assert (shown["frozen"], shown["held"], shown["debt"]) == ("4", "0", "0")
        assert shown["next_expiry"] == clock.iso(expires_at_ms)
        with running.hub.database.write():
            ledger.claw(
                running.hub.database, lot.id, 12 * 10**9, "re_1", now_ms, EntryKind.CLAWBACK, frozen_nano=4 * 10**9
            )
        shown = running.call("GET", "/v1/credits").json()
        assert (shown["frozen"], shown["held"]) == ("0", "0")
        assert Decimal(shown["debt"]) == 2 + spent
        assert Decimal(shown["balance"]) == _left(shown) == -2 - spent
        refused = running.chat("gpt-4o-mini")
        assert (refused.status, refused.json()["error"]["code"]) == (402, "insufficient_credits")
    finally:
        running.stop()


def test_openrouters_clients_read_what_is_left_whatever_expired_and_however_much_was_given(tmp_path: Path) -> None:
    running = start_gateway(temporary_home(tmp_path), credit_nano=0)
    try:
        for number in range(1, 4):
            now_ms = clock.now_ms()
            given = f"grant-{number}", now_ms + 3_600_000, "", now_ms
            with running.hub.database.write():
                ledger.grant(running.hub.database, running.account_id, 4 * 10**18, *given)
            ledger.expire_due(running.hub.database, now_ms + 3_600_000)
        assert _left(running.call("GET", "/v1/credits").json()) == 0
        grants.grant(running.hub, running.account_id, 3 * 10**9, expires_at_ms=None)
        assert _left(running.call("GET", "/v1/credits").json()) == 3
    finally:
        running.stop()


def _left(shown: Mapping[str, Any]) -> Decimal:
    """What a client of OpenRouter shows as left."""
    return Decimal(str(shown["total_credits"])) - Decimal(str(shown["total_usage"]))
