"""Why a request went where it went: every deployment considered, with its verdict, kept compact.

Made for each request, also one that succeeds, so it holds references only; the text is made
when it is stored or shown. It holds no request data but the names asked for (T118).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, Final

import orjson

from tokenhub.catalog.models import Deployment
from tokenhub.catalog.prices import PriceCard
from tokenhub.routing.boundaries import Exclusion
from tokenhub.routing.standing import WELL, Standing
from tokenhub.routing.survey import Entrant, Outside
from tokenhub.values import value

FORMAT: Final = 1
STORED_CHARS: Final = 2_000
"""What is kept of a decision with its request: the store takes no longer text."""
TRY, SPARE, UNAVAILABLE, EXCLUDED = "try", "spare", "unavailable", "excluded"


@value
class Considered:
    """One deployment: ``verdict`` says at which stage it was settled, and how."""

    deployment: Deployment
    id: str
    verdict: str
    """``try``: among the attempts; ``spare``: inside, behind them; ``unavailable``; ``excluded``."""
    score: float
    """What ordered it within its model; the lowest is first."""
    exclusion: Exclusion | None
    standing: Standing


Runner = tuple[tuple[float, ...], int, Entrant, PriceCard, Standing, float]
"""An entrant inside the boundaries: its rank, its number, itself, its prices, its standing, its score; a plain tuple sorts fastest."""


class Decision:
    """A plan's reasons. Made for every request and read for few, so ``considered`` is put together when asked for."""

    __slots__ = ("_parts", "asked", "by", "max_attempts", "models", "why_max")

    def __init__(
        self,
        asked: tuple[str, ...],
        models: tuple[str, ...],
        by: str,
        max_attempts: int,
        why_max: str,
        tried: Sequence[Runner],
        spare: Sequence[Runner],
        unwell: Sequence[Runner],
        outside: Sequence[Outside],
    ) -> None:
        self.asked = asked
        """The names of the request: its model, then its fallbacks."""
        self.models = models
        """What they mean, in the order to try."""
        self.by = by
        """What ordered them: ``session``, ``order``, ``sort:price``, ``pin``; ``last_resort``: none was well, one is tried."""
        self.max_attempts = max_attempts
        self.why_max = why_max
        """The scope that allows so few attempts, or ``failover_off``."""
        self._parts = (tried, spare, unwell, outside)

    @property
    def considered(self) -> list[Considered]:
        """Tried first to last, spares, unavailable, excluded."""
        *inside, outside = self._parts
        found = [
            Considered(entrant.deployment, entrant.id, verdict, score, None, standing)
            for verdict, runners in zip((TRY, SPARE, UNAVAILABLE), inside, strict=True)
            for _, _, entrant, _, standing, score in runners
        ]
        return found + [Considered(one.deployment, one.id, EXCLUDED, 0.0, why, WELL) for one, why in outside]

    @property
    def excluded(self) -> list[dict[str, Any]]:
        """What a client is told of those that are out: no credential, no name of another account."""
        found: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        for one in self.considered:
            if one.verdict in (TRY, SPARE):
                continue
            told = _told(one)
            found.setdefault((told["provider"], told["model"], told["region"], told["reason"]), told)
        return list(found.values())

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON, empty members left out."""
        shown: dict[str, Any] = orjson.loads(self._text())
        return shown

    def dump(self, most_chars: int = STORED_CHARS) -> str:
        """Return it as compact JSON of at most so many characters.

        What does not fit is left out from the end, where those that are excluded stand: first
        their details, then they themselves; ``more`` counts these.
        """
        text = self._text()
        if len(text) <= most_chars:
            return text
        shown = self.record()
        rows: list[dict[str, Any]] = shown["d"]
        for row in rows:
            row.pop("why", None)
        shown["more"] = 0
        while len(text := orjson.dumps(shown).decode()) > most_chars and rows:
            beyond = len(text) - most_chars
            cut = max(1, beyond * len(rows) // len(text))
            del rows[-cut:]
            shown["more"] += cut
        return text

    def _text(self) -> str:
        """Put it together from texts: this is done for every request, and dictionaries would cost five times as much."""
        tried, spare, unwell, outside = self._parts
        asked = self.asked[0] if len(self.asked) == 1 else self.asked
        head = _head(asked, self.models, self.by, self.max_attempts, self.why_max)
        rows = []
        for place, (_, _, entrant, _, standing, score) in enumerate(tried, 1):
            rows.append(f'{{"id":"{entrant.id}","v":"try","n":{place},"s":{_number(score)}{_state(standing)}}}')
        for verdict, runners in ((SPARE, spare), (UNAVAILABLE, unwell)):
            for _, _, entrant, _, standing, score in runners:
                rows.append(f'{{"id":"{entrant.id}","v":"{verdict}","s":{_number(score)}{_state(standing)}}}')
        rows += [_excluded_row(entrant.id, why) for entrant, why in outside]
        return f'{head},"d":[{",".join(rows)}]}}'


@lru_cache(maxsize=4096)
def _head(asked: str | tuple[str, ...], models: tuple[str, ...], by: str, most: int, why_max: str) -> str:
    """Return the JSON of all but the deployments, still open at its end."""
    shown = {"v": FORMAT, "asked": asked, "models": models, "by": by, "max": most, "why_max": why_max}
    return orjson.dumps({name: value for name, value in shown.items() if value != ""}).decode()[:-1]


@lru_cache(maxsize=16384)
def _excluded_row(id: str, why: Exclusion) -> str:
    """Return the JSON of a deployment that is out: the same for every request that meets the same rule."""
    members = (("code", why.code), ("scope", why.scope), ("sub", why.subject), ("why", why.detail))
    stated = {name: text for name, text in members if text}
    return orjson.dumps({"id": id, "v": EXCLUDED, **stated}).decode()


def _number(score: float) -> str:
    """A score as JSON; what was never measured has none."""
    return f"{score:.4f}" if isfinite(score) else "null"


def _state(standing: Standing) -> str:
    """What is not well with a deployment, as the rest of its JSON."""
    if not standing.code:
        return ""
    again = f',"at":{standing.retry_at_ms}' if standing.retry_at_ms else ""
    return f',"code":"{standing.code}"{again}'


def _told(one: Considered) -> dict[str, Any]:
    reason = one.exclusion.code if one.exclusion else one.standing.code
    told = {
        "model": one.deployment.model.id,
        "provider": one.deployment.provider.id,
        "region": one.deployment.region.id,
        "reason": reason,
    }
    if one.exclusion is None:
        return told
    scope: Mapping[str, str] = {"scope": one.exclusion.scope} if one.exclusion.scope else {}
    return {**told, **scope, "detail": one.exclusion.detail}
