"""What adapters share: their provider, and the sorting of its errors."""

from collections.abc import Mapping
from functools import partial

from tokenhub.catalog.models import Provider
from tokenhub.providers import failures
from tokenhub.wire.faults import Failure


class BaseAdapter:
    """Sorts errors by the provider's own rules: a reply that is one, and with ``_classify`` one inside a 200."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._classify = partial(failures.of_payload, provider.id)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return failures.classify(self._provider.id, status, headers, body)
