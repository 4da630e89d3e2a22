"""What a client is told whose hold the write has refused: for its key, its account, its rate, its money."""

from collections.abc import Callable, Mapping

from tokenhub.billing.holds import Refusal, Refused
from tokenhub.errors import (
    AuthenticationFailed,
    HubError,
    InsufficientCredits,
    PermissionDenied,
    RateLimited,
    Unavailable,
)
from tokenhub.money import exact
from tokenhub.operations import callers


def error_of(refused: Refused) -> HubError:
    """Return what the client is told."""
    return _ERRORS[refused.reason](refused)


def _rate_limited(refused: Refused) -> HubError:
    return RateLimited(
        f"The rate limit of this {refused.scope} is reached; try again in {refused.retry_after_s} s.",
        metadata={"scope": refused.scope},
        retry_after_s=refused.retry_after_s,
    )


def _too_many(refused: Refused) -> HubError:
    return RateLimited(
        "This account has too many requests under way; wait for one to end.",
        code="too_many_concurrent",
        retry_after_s=refused.retry_after_s,
    )


def _insufficient(refused: Refused) -> HubError:
    return _unpaid(
        refused, "balance", "The balance does not cover this request; top up, or set a smaller max_completion_tokens."
    )


def _in_flight(refused: Refused) -> HubError:
    return _unpaid(
        refused, "in_flight", "The balance is set aside for requests under way; try again when they have ended."
    )


def _key_limit(refused: Refused) -> HubError:
    return _unpaid(refused, "key_limit", "The spend limit of this key does not cover this request.")


def _unpaid(refused: Refused, reason: str, message: str) -> HubError:
    amounts = {"reason": reason, "required": exact(refused.required_nano), "available": exact(refused.available_nano)}
    return InsufficientCredits(message, metadata=amounts, retry_after_s=refused.retry_after_s)


def _withdrawn(_: Refused) -> HubError:
    return Unavailable("The gateway is stopping; try again.", code="overloaded", retry_after_s=1)


_ERRORS: Mapping[Refusal, Callable[[Refused], HubError]] = {
    Refusal.KEY_INVALID: lambda _: AuthenticationFailed(callers.NOT_ACCEPTED),
    Refusal.ACCOUNT_DISABLED: lambda _: PermissionDenied(callers.DISABLED, code="account_disabled"),
    Refusal.RATE_LIMITED: _rate_limited,
    Refusal.TOO_MANY_CONCURRENT: _too_many,
    Refusal.INSUFFICIENT: _insufficient,
    Refusal.IN_FLIGHT: _in_flight,
    Refusal.KEY_LIMIT: _key_limit,
    Refusal.ENDED: _withdrawn,
    Refusal.FENCED: _withdrawn,
    Refusal.STALE: _withdrawn,
}
