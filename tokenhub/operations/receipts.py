"""What key holders may read of their own: key, credits, and the receipt of a request.

Field names and types are OpenRouter's, so that its clients work here unchanged
(``docs/http.md``); amounts are JSON numbers, with exact decimal strings beside them.
"""

from typing import Any

import orjson

from tokenhub import clock
from tokenhub.accounts.accounts import Caller, SpendPeriod
from tokenhub.accounts.limits import RateState, RateWindow
from tokenhub.billing.periods import counted_from_ms, period_start_ms
from tokenhub.errors import NotFound
from tokenhub.money import exact, number
from tokenhub.store import requests, spend
from tokenhub.store.database import Database

_RESET = {SpendPeriod.DAY: "daily", SpendPeriod.WEEK: "weekly", SpendPeriod.MONTH: "monthly", SpendPeriod.TOTAL: None}

_API_TYPES = {
    "chat": "completions",
    "embeddings": "embeddings",
    "images": "image",
    "videos": "video",
    "speech": "tts",
    "transcriptions": "stt",
    "rerank": "rerank",
}
"""Capabilities in OpenRouter's words; it has none for moderations."""


def rates(database: Database, caller: Caller) -> tuple[RateState, RateState]:
    """Return how much of the key's and of the account's rate window is free; asking counts as nothing."""
    key_window, account_window = windows(database, caller)
    return key_window.state(caller.key_rpm), account_window.state(caller.account_rpm)


def windows(database: Database, caller: Caller) -> tuple[RateWindow, RateWindow]:
    """Return the key's and the account's rate window as they are now, to look at."""
    with database.read():
        state = spend.limit_state(database, caller.key.id)
        now_s, tag = database.now_s(), database.window_epoch()
    return RateWindow.load(state.key_window, tag, now_s), RateWindow.load(state.account_window, tag, now_s)


def key(database: Database, caller: Caller, now_ms: int) -> dict[str, Any]:
    """Describe a key to its holder: limits, spend, rate limit."""
    mine, account = caller.key, caller.account
    with database.read():
        spent = spend.of_key(
            database,
            account.id,
            mine.id,
            day_ms=period_start_ms(SpendPeriod.DAY, now_ms),
            week_ms=period_start_ms(SpendPeriod.WEEK, now_ms),
            month_ms=period_start_ms(SpendPeriod.MONTH, now_ms),
        )
        state = spend.limit_state(database, mine.id)
    limit = state.spend_limit
    counts = state.period_start == counted_from_ms(state.spend_period, state.period_start, now_ms)
    used = state.period_spent + state.period_held if counts else 0
    return {
        "label": mine.name or mine.prefix,
        "limit": None if limit is None else number(limit),
        "limit_remaining": None if limit is None else number(max(0, limit - used)),
        "limit_reset": _RESET[state.spend_period],
        "usage": number(spent.total),
        "usage_daily": number(spent.day),
        "usage_weekly": number(spent.week),
        "usage_monthly": number(spent.month),
        "usage_exact": exact(spent.total),
        "byok_usage": 0,
        "byok_usage_daily": 0,
        "byok_usage_weekly": 0,
        "byok_usage_monthly": 0,
        "include_byok_in_limit": False,
        "is_free_tier": False,
        "is_management_key": False,
        "is_provisioning_key": False,
        "creator_user_id": None,
        "expires_at": clock.iso_or_none(mine.expires_at_ms),
        "rate_limit": {
            "requests": caller.key_rpm,
            "interval": "60s",
            "note": f"{caller.account_rpm} requests in 60 s for all keys of the account together",
        },
        "id": mine.id,
        "account": account.name,
        "plan": caller.plan.id,
        "models": None if mine.models is None else list(mine.models),
    }


def credits(database: Database, caller: Caller) -> dict[str, Any]:
    """Show an account's credit: spent or left, used, what a request may take now. OpenRouter's clients take the first less the second for what is left."""
    with database.read():
        found = spend.credits_of(database, caller.account.id)
    return {
        "total_credits": number(found.total),
        "total_usage": number(found.used),
        "balance": exact(found.available),
        "total_used": exact(found.used),
        "held": exact(found.held),
        "frozen": exact(found.frozen),
        "debt": exact(found.debt),
        "next_expiry": clock.iso_or_none(found.next_expiry_ms),
    }


def unknown() -> NotFound:
    """Return what is told of a request that is not the account's."""
    return NotFound("No request of this account has this id.", param="id")


def generation(database: Database, caller: Caller, request_id: str) -> dict[str, Any]:
    """Return the receipt of one of the account's requests, by its id here or at the provider; NotFound for all others (T44)."""
    with database.read():
        row = requests.one(database, request_id, account_id=caller.account.id)
    if row is None:
        raise unknown()
    attempts = orjson.loads(row.attempts)
    first = row.first_content_ms
    return {
        "id": row.id,
        "request_id": row.id,
        "upstream_id": row.upstream_id,
        "session_id": None,
        "model": row.model,
        "provider_name": row.provider,
        "provider_responses": attempts,
        "routing": orjson.loads(row.decision) if row.decision else None,
        "data_region": row.region,
        "api_type": _API_TYPES.get(row.capability),
        "created_at": clock.iso(row.started_at),
        "latency": first if first is not None else row.duration_ms,
        "generation_time": row.duration_ms - (first or 0),
        "moderation_latency": None,
        "streamed": bool(row.streamed),
        "cancelled": bool(row.cancelled),
        "finish_reason": row.finish_reason,
        "native_finish_reason": row.native_finish_reason,
        "status": row.status,
        "error_code": row.error_code,
        "end": row.end,
        "tokens_prompt": row.prompt_total,
        "tokens_completion": row.completion_total,
        "native_tokens_prompt": row.prompt_total,
        "native_tokens_completion": row.completion_total,
        "native_tokens_reasoning": row.reasoning_tokens,
        "native_tokens_cached": row.cache_read_tokens,
        "units": orjson.loads(row.units) if row.units else [],
        "estimated": bool(row.estimated),
        "total_cost": number(row.charged),
        "usage": number(row.charged),
        "upstream_inference_cost": number(row.model_fee),
        "cache_discount": number(row.saved) if row.saved else None,
        "is_byok": False,
        "cost_details": {
            "model_fee": exact(row.model_fee),
            "service_fee": exact(row.service_fee),
            "total": exact(row.charged),
            "cache_saved": exact(row.saved),
        },
    }
