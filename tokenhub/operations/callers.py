"""What a caller may do at this moment, decided on rows just read; the one rule behind every door (T36)."""

from tokenhub.accounts import directory
from tokenhub.accounts.accounts import AccountStatus, Caller
from tokenhub.errors import AuthenticationFailed, PermissionDenied

NOT_ACCEPTED = (
    "The API key is missing or not valid. Send it as 'Authorization: Bearer th-…'; "
    "ask the operator for a new one if it is lost."
)
DISABLED = "This account is disabled; ask the operator."


def accepted(caller: Caller | None, now_ms: int) -> Caller:
    """Return the caller of a key that is accepted now.

    Unknown, malformed, revoked and expired keys get the same words (T39); a disabled account
    is told so, because its key is genuine.
    """
    if caller is None or not directory.key_is_valid(caller, now_ms):
        raise AuthenticationFailed(NOT_ACCEPTED)
    if caller.account.status is not AccountStatus.ACTIVE:
        raise PermissionDenied(DISABLED, code="account_disabled")
    return caller
