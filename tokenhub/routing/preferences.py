"""What a scope sets about routing: boundaries, which only ever narrow, and wishes about the order within them.

The same record stands at every scope: the installation, a plan, an account, a key, and a
request, where it is spelled as OpenRouter does. A member that is not known is refused: to
serve a request as if its boundary had not been stated would break a promise silently.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final

from tokenhub.catalog import regions
from tokenhub.catalog.data_policy import DATA_POLICIES as DATA_POLICIES
from tokenhub.errors import InvalidRequest
from tokenhub.money import ATTO_PER_USD, InvalidAmount, exact_price, parse_price_per_million

SORTS: Final = ("price", "latency", "throughput")
ATTEMPTS_MOST: Final = 3
NAMES_MOST: Final = 64
FALLBACKS_MOST: Final = 16
_NAME_CHARS = 256
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}(@[a-z0-9][a-z0-9-]{0,31})?", re.ASCII)
_PER_MILLION = 10**6

Holds = Callable[[str], bool]
"""Whether a name can stand in a list."""


def _is_provider(name: str) -> bool:
    return _PROVIDER.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class MaxPrice:
    """The most a token may cost, in atto-USD; None: no limit."""

    prompt: int | None = None
    completion: int | None = None

    def dump(self) -> dict[str, str]:
        """Return it as USD per million tokens, exactly."""
        stated = (("prompt", self.prompt), ("completion", self.completion))
        return {name: exact_price(atto * _PER_MILLION) for name, atto in stated if atto is not None}


@dataclass(frozen=True, slots=True)
class Preferences:
    """What one scope sets. None, and an empty order, set nothing."""

    regions: frozenset[str] | None = None
    """Where inference may run: data regions, two letters each, or ``self-hosted``."""
    deny_regions: frozenset[str] | None = None
    providers: frozenset[str] | None = None
    """Provider ids, or ``provider@region``."""
    deny_providers: frozenset[str] | None = None
    models: frozenset[str] | None = None
    """Model ids, or ``provider/model``."""
    deny_models: frozenset[str] | None = None
    data_policy: str | None = None
    """One of ``DATA_POLICIES``: what must hold for the data of requests."""
    order: tuple[str, ...] = ()
    """Providers to try first, in this order."""
    sort: str | None = None
    max_price: MaxPrice | None = None
    failover: bool | None = None
    """False: one attempt."""
    max_attempts: int | None = None
    prompt_cache: bool | None = None
    """Prompts may be written to a cache where that costs extra (Anthropic's ``cache_control``); the innermost scope decides."""
    require_parameters: bool = False
    """Only deployments that take every field of the request as it is."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is set."""
        return self == NOTHING

    def dump(self) -> dict[str, Any]:
        """Return what is set as plain JSON, as ``parse`` reads it; lists are sorted, so that equal is equal as text."""
        stated = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: _plain(value) for name, value in stated if value != getattr(NOTHING, name)}


NOTHING: Final = Preferences()


def _plain(value: Any) -> Any:
    if isinstance(value, MaxPrice):
        return value.dump()
    return sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value


def parse(data: Mapping[str, Any]) -> Preferences:
    """Read what one scope sets, as ``dump`` writes it; raises InvalidRequest that names the member at fault."""
    reader = _Reader(data, "")
    found = Preferences(
        regions=reader.names("regions", regions.is_region),
        deny_regions=reader.names("deny_regions", regions.is_region),
        providers=reader.names("providers", _is_provider),
        deny_providers=reader.names("deny_providers", _is_provider),
        models=reader.names("models"),
        deny_models=reader.names("deny_models"),
        data_policy=reader.word("data_policy", DATA_POLICIES),
        order=reader.ordered("order", _is_provider),
        sort=reader.word("sort", SORTS),
        max_price=reader.prices("max_price"),
        failover=reader.flag("failover"),
        max_attempts=reader.attempts("max_attempts"),
        prompt_cache=reader.flag("prompt_cache"),
        require_parameters=bool(reader.flag("require_parameters")),
    )
    reader.end()
    return found


def of_request(body: Mapping[str, Any]) -> Preferences | None:
    """Read a request's ``provider`` object, as OpenRouter spells it; None when it sets nothing.

    ``only`` and ``ignore`` are providers allowed and denied. ``data_collection: deny`` is the
    strictest data policy. ``order`` with ``allow_fallbacks: false`` allows only the providers
    in it. null is as good as absent. Raises InvalidRequest, also for a member not known.
    """
    given = body.get("provider")
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise InvalidRequest("provider must be an object.", param="provider")
    reader = _Reader(given, "provider.")
    only, order = reader.names("only", _is_provider), reader.ordered("order", _is_provider)
    failover = reader.flag("allow_fallbacks")
    if order and failover is False:
        only = frozenset(order) if only is None else only & frozenset(order)
    found = Preferences(
        providers=only,
        deny_providers=reader.names("ignore", _is_provider),
        data_policy=DATA_POLICIES[-1] if reader.word("data_collection", ("allow", "deny")) == "deny" else None,
        order=order,
        sort=reader.word("sort", SORTS),
        max_price=reader.prices("max_price"),
        failover=False if failover is False else None,
        require_parameters=bool(reader.flag("require_parameters")),
    )
    reader.end()
    return None if found.is_empty else found


def fallbacks(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the models a request names besides its own, to be tried after it: ``models``, each once."""
    given = body.get("models")
    if given is None:
        return ()
    names = _Reader({"models": given}, "").ordered("models")
    if len(names) > FALLBACKS_MOST:
        raise InvalidRequest(f"models can name at most {FALLBACKS_MOST} models.", param="models")
    return tuple(name for name in names if name != body.get("model"))


class _Reader:
    """One object whose members are taken one by one; what is left at the end is refused."""

    def __init__(self, data: Mapping[str, Any], prefix: str) -> None:
        self._left = {name: value for name, value in data.items() if value is not None}
        self._known: list[str] = []
        self._prefix = prefix

    def _take(self, name: str) -> Any:
        self._known.append(name)
        return self._left.pop(name, None)

    def _refuse(self, name: str, words: str) -> InvalidRequest:
        return InvalidRequest(f"{self._prefix}{name} must be {words}.", param=f"{self._prefix}{name}")

    def names(self, name: str, holds: Holds | None = None) -> frozenset[str] | None:
        """Take a set of names. One that is empty allows, or denies, nothing; a denial of nothing is no setting."""
        found = self._listed(name, holds)
        if found is None or (not found and name in ("ignore", *_DENIALS)):
            return None
        return frozenset(found)

    def ordered(self, name: str, holds: Holds | None = None) -> tuple[str, ...]:
        """Take a list of names, each kept once."""
        return tuple(dict.fromkeys(self._listed(name, holds) or ()))

    def _listed(self, name: str, holds: Holds | None) -> list[str] | None:
        found = self._take(name)
        if found is None:
            return None
        if not isinstance(found, list) or not all(
            isinstance(one, str) and 0 < len(one) <= _NAME_CHARS for one in found
        ):
            raise self._refuse(name, "a list of names")
        if len(found) > NAMES_MOST:
            raise self._refuse(name, f"a list of at most {NAMES_MOST} names")
        # Names match exactly: a name that can mean nothing is refused, lest a denial of it deny nothing (T106).
        if holds and (wrong := [one for one in found if not holds(one)]):
            raise self._refuse(name, f"{_KINDS[holds]}; {wrong[0][:40]!r} is none")
        return found

    def word(self, name: str, words: tuple[str, ...]) -> str | None:
        """Take one of these words."""
        found = self._take(name)
        if found is not None and found not in words:
            raise self._refuse(name, " or ".join(words))
        return found  # type: ignore[no-any-return]

    def flag(self, name: str) -> bool | None:
        """Take true or false."""
        found = self._take(name)
        if found is not None and not isinstance(found, bool):
            raise self._refuse(name, "true or false")
        return found

    def attempts(self, name: str) -> int | None:
        """Take a number of attempts."""
        found = self._take(name)
        if found is not None and not (type(found) is int and 1 <= found <= ATTEMPTS_MOST):
            raise self._refuse(name, f"a whole number from 1 to {ATTEMPTS_MOST}")
        return found

    def prices(self, name: str) -> MaxPrice | None:
        """Take prices in USD per million tokens, as numbers or decimal texts."""
        found = self._take(name)
        if found is None:
            return None
        if not isinstance(found, Mapping):
            raise self._refuse(name, "an object with prompt or completion")
        inner = _Reader(found, f"{self._prefix}{name}.")
        price = MaxPrice(inner.price("prompt"), inner.price("completion"))
        inner.end()
        return None if price == MaxPrice() else price

    def price(self, name: str) -> int | None:
        """Take a price in USD per million tokens, as atto-USD per token."""
        found = self._take(name)
        if found is None:
            return None
        if type(found) in (int, float) and 0 <= found < ATTO_PER_USD:
            found = format(Decimal(repr(found)), "f")
        try:
            return parse_price_per_million(found if isinstance(found, str) else "")
        except InvalidAmount:
            raise self._refuse(name, "USD per million tokens, a decimal of at most 12 places") from None

    def end(self) -> None:
        """Refuse what was not taken."""
        if self._left:
            name = str(next(iter(self._left)))[:60]
            raise InvalidRequest(
                f"{self._prefix}{name} is not known here, and to ignore it could break what it asks for; "
                f"known are {', '.join(self._known)}.",
                code="unsupported_parameter",
                param=f"{self._prefix}{name}",
            )


_DENIALS = ("deny_regions", "deny_providers", "deny_models")
_KINDS: Mapping[Holds, str] = {
    regions.is_region: "countries' two letters such as us or cn, eu, or self-hosted",
    _is_provider: "providers such as openai or openai@eu",
}
