"""Rows of tables as no operation here makes them alone: a request that ended, a purchase with all that can follow one."""

from typing import Any

from tokenhub import clock
from tokenhub.operations.hub import Hub

_ZERO = (
    "streamed", "status", "input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "audio_input_tokens",
    "image_input_tokens", "output_tokens", "reasoning_tokens", "image_output_tokens", "unknown_tokens", "estimated", "cancelled",
    "held", "model_fee", "service_fee", "charged", "shortfall", "fee_bp", "duration_ms",
)  # fmt: skip


def request(hub: Hub, **columns: Any) -> None:
    """Write a request that has ended; id, account_id and key_id must be given."""
    texts = {"end": "released", "capability": "", "model": "", "attempts": "[]"}
    moments = {"started_at": 1, "ended_at": clock.now_ms()}
    _insert(hub, "requests", dict.fromkeys(_ZERO, 0) | texts | moments | columns)


def purchase(hub: Hub, account_id: int, topup: str) -> None:
    """Write a top-up with a refund, a dispute, a card, an automatic recharge and a sealed secret."""
    rows = {
        "customers": {"account_id": account_id, "customer": "cus_1", "card": ""},
        "recharges": {"account_id": account_id, "state": "suspended", "amount": 1, "below": 1, "monthly_cap": 1, "reason": "", "declines": 0, "month_start": 0, "month_total": 0},
        "topups": {
            "id": topup, "account_id": account_id, "kind": "checkout", "state": "open", "currency": "usd",
            "amount": 1, "rate": 1_000_000, "credit": 1, "livemode": 0, "attempt": 1, "params": "{}", "offered": "[]",
            "reason": "", "updated_at": 0,
        },
        "refunds": {"id": "refund_1", "topup_id": topup, "state": "failed", "origin": "stripe", "amount": 1, "credit": 0, "attempt": 1, "reason": "", "updated_at": 0},
        "disputes": {"id": "du_1", "topup_id": topup, "state": "flagged", "status": "", "amount": 1, "frozen": 0, "taken": 0, "updated_at": 0},
        "secrets": {"name": "stripe.webhook_secret", "sealed": b"", "hint": ""},
    }  # fmt: skip
    for table, columns in rows.items():
        _insert(hub, table, {**columns, "created_at": 0})


def _insert(hub: Hub, table: str, columns: dict[str, Any]) -> None:
    names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
    hub.database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))
