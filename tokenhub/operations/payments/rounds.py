"""One round of looking at things that are due, none of which may hold up the others."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from tokenhub.errors import HubError
from tokenhub.observability import log
from tokenhub.operations.payments.stripe_api import StripeAuth, StripeLimited, StripeUnknown
from tokenhub.store.database import CommitUnknown, StoreError

T = TypeVar("T", int, str)


def each(kind: str, found: Iterable[T], look: Callable[[T], object], postpone: Callable[[T], object]) -> None:
    """Look at each; what goes wrong is postponed and the others go on.

    When Stripe cannot be reached the round is over: the next would only wait in vain too. When
    it asks for patience, or refuses the key, that is raised, as is what the store raises.
    """
    for one in found:
        try:
            look(one)
        except (StoreError, CommitUnknown):
            raise
        except (StripeLimited, StripeAuth):
            postpone(one)
            raise
        except HubError as error:
            log.event(f"{kind}_not_reconciled", level="warning", id=one, code=error.code)
            postpone(one)
            if isinstance(error, StripeUnknown):
                return
        except Exception as error:
            log.failure(f"{kind}_not_reconciled", error, id=one)
            postpone(one)
