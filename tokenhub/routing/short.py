"""The short form of a decision, for a header: one line of ASCII with a stated length."""

from collections.abc import Iterable
from typing import Final

from tokenhub.routing.decision import EXCLUDED, SPARE, TRY, UNAVAILABLE, Considered, Decision

MOST_CHARS: Final = 1_000
"""Longer lists are cut, with the number of what is left out: some clients take headers of 8 KiB in all."""

_NAMES: Final = {TRY: "try", SPARE: "spare", UNAVAILABLE: "unavailable", EXCLUDED: "excluded"}


def short(decision: Decision) -> str:
    """Return a decision as ``by=session; max=3; try=alibaba/m@us,openrouter/m@default; excluded=deepseek/m@cn:region_denied``.

    Deployments stand without their credential's number, each once.
    """
    parts = [f"by={decision.by}", f"max={decision.max_attempts}"]
    if decision.why_max:
        parts.append(f"because={decision.why_max}")
    for verdict, name in _NAMES.items():
        found = [_named(one) for one in decision.considered if one.verdict == verdict]
        if found:
            parts.append(f"{name}={listed(dict.fromkeys(found), MOST_CHARS // 4 - 30)}")
    return "; ".join(parts).encode("ascii", "replace").decode()


def _named(one: Considered) -> str:
    place = one.id.rpartition("#")[0]
    code = one.exclusion.code if one.exclusion else one.standing.code
    return f"{place}:{code}" if code else place


def listed(names: Iterable[str], room: int = MOST_CHARS) -> str:
    """Join names as far as they fit, at least one; then say how many more there are."""
    shown, left = "", list(names)
    while left and (not shown or len(shown) + len(left[0]) < room):
        shown += ("," if shown else "") + left.pop(0)
    return f"{shown},+{len(left)}" if left else shown
