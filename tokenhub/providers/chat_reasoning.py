"""How much a model is to reason, said as its provider wants to hear it."""

from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.call import Wire
from tokenhub.providers.chat_shaping import Shaping

_OFF = "none"


def _say_effort(body: dict[str, Any], word: str) -> None:
    body["reasoning_effort"] = word


def _say_thinking(body: dict[str, Any], word: str) -> None:
    given = body.get("thinking")
    body["thinking"] = {**(given if isinstance(given, dict) else {}), "type": "disabled" if word == _OFF else "enabled"}


def _say_thinking_and_effort(body: dict[str, Any], word: str) -> None:
    _say_thinking(body, word)
    if word != _OFF:
        body["reasoning_effort"] = word


def _say_enable_thinking(body: dict[str, Any], word: str) -> None:
    body["enable_thinking"] = word != _OFF


def _say_reasoning_object(body: dict[str, Any], word: str) -> None:
    given = body.get("reasoning")
    body["reasoning"] = {**(given if isinstance(given, dict) else {}), "effort": word}


_SAY: Mapping[str, Callable[[dict[str, Any], str], None]] = {
    "effort": _say_effort,
    "thinking": _say_thinking,
    "thinking_effort": _say_thinking_and_effort,
    "enable_thinking": _say_enable_thinking,
    "reasoning_object": _say_reasoning_object,
}
"""How each kind of provider is told how much to reason (notes of each provider's API page, 2026-11-22)."""

_SWITCHES = ("thinking", "thinking_effort", "enable_thinking")


def reasoning(shaping: Shaping) -> None:
    """Say ``reasoning_effort`` in the provider's way, and find out whether the model will reason."""
    body, style = shaping.body, shaping.quirks["reasoning"]
    word = _asked_effort(body, style)
    if word is None:
        shaping.thinks = _thinks_unasked(shaping)
        return
    if word == _OFF and shaping.traits["reasoning"] and not shaping.traits["reasoning_none"]:
        if shaping.call.wire is not Wire.CHAT:  # there "off" is what everybody says who expects no thoughts
            shaping.thinks = True
            shaping.dropped.append("reasoning_effort")
            return
        raise shaping.refuse(
            "reasoning_effort", "always reasons; send a reasoning_effort such as low, or none of the field."
        )
    if (
        not shaping.traits["reasoning"]
        and shaping.call.wire is not Wire.CHAT
        and not shaping.deployment.provider.custom
    ):
        shaping.dropped.append("reasoning_effort")  # coding agents name an effort whatever the model
        return
    shaping.thinks = shaping.asked_to_think = word != _OFF
    say = _SAY.get(style)
    if say is None or (style in _SWITCHES and not shaping.traits["reasoning"]):
        shaping.dropped.append("reasoning_effort")
        shaping.thinks = False
    else:
        say(body, shaping.quirks["efforts"].get(word, word))


def _asked_effort(body: dict[str, Any], style: str) -> str | None:
    """Take out the effort the client asked for: OpenAI's field, or OpenRouter's object."""
    word = body.pop("reasoning_effort", None)
    given = body.get("reasoning")
    if style != "reasoning_object" and isinstance(given, dict):
        del body["reasoning"]
        word = word or given.get("effort") or (_OFF if given.get("enabled") is False else None)
    return word if isinstance(word, str) else None


def _thinks_unasked(shaping: Shaping) -> bool:
    """Return whether the model reasons in a request without an effort: by the provider's own fields, else by default."""
    thinking, enabled = shaping.body.get("thinking"), shaping.body.get("enable_thinking")
    if isinstance(thinking, dict) and "type" in thinking:
        shaping.asked_to_think = thinking["type"] != "disabled"
        return shaping.asked_to_think
    if isinstance(enabled, bool):
        shaping.asked_to_think = enabled
        return enabled
    return bool(shaping.traits["reasoning"]) and shaping.traits["reasoning_default"] == "on"


def without_reasoning(shaping: Shaping) -> bool:
    """Switch reasoning off if the client did not ask for it and that can be said; return whether it is off."""
    if shaping.asked_to_think or not shaping.traits["reasoning_none"]:
        return False
    say = _SAY.get(shaping.quirks["reasoning"])
    if say is None:
        return False
    say(shaping.body, _OFF)
    shaping.thinks = False
    return True
