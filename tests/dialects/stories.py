"""The conversations and outcomes of the matrix, and any others, made by chance."""

from typing import Any

from hypothesis import strategies as st

from tests.dialects.story import (
    Call,
    Conversation,
    Counts,
    Outcome,
    Part,
    Picture,
    Result,
    Text,
    Thought,
    Tool,
    Turn,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SEAL = "c2VhbGVkIGJ5IHRoZSB1cHN0cmVhbQ=="

_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("get_weather", "Says what the weather is in a city.", _CITY)
TIME = Tool("get_time", "Says how late it is in a city.", _CITY)

SYSTEM = "You are a guide. Answer briefly."
HISTORY = (
    Turn("user", (Text("Where is the “Pont Neuf”?\nTell me."),)),
    Turn("assistant", (Text("In Paris."),)),
)
TALK = Conversation((*HISTORY, Turn("user", (Text("And what is it made of?"),))), SYSTEM, (WEATHER,), 3000)
"""A tool is offered in all of them: OpenAI's reasoning models are called on Responses then."""
FORECAST = Conversation((Turn("user", (Text("Weather in Paris and Rome?"),)),), SYSTEM, (WEATHER, TIME), 3000)
SIGHT = Conversation((Turn("user", (Text("What is on this picture?"), Picture(PIXEL))),), SYSTEM, (WEATHER,), 3000)

ANSWER = Outcome((Text("Of stone, “pierre de taille” – since 1607.\n\n* really *"),), counts=Counts(61, 40, output=30))
SHORT = Outcome((Text("Of sto"),), "length", Counts(61, 40, output=3))
ONE_CALL = Outcome((Call("call_a1", "get_weather", {"city": "Paris"}),), "tools", Counts(50, 7, output=12))
TWO_CALLS = Outcome(
    (
        Text("Let me look."),
        Call("call_a1", "get_weather", {"city": "Paris", "units": {"wind": "m/s", "of": [1, 2.5, None, True]}}),
        Call("call_a2", "get_time", {"city": "Roma – “caput mundi”"}),
    ),
    "tools",
    Counts(50, 7, output=44),
)
THOUGHTFUL = Outcome((Thought("The bridge is old. So: stone.", SEAL), Text("Of stone.")), counts=Counts(61, 40, output=70, reasoning=55))  # fmt: skip
THOUGHTFUL_CALL = Outcome(
    (Thought("I do not know. I ask.", SEAL), Call("call_a1", "get_weather", {"city": "Paris"})),
    "tools",
    Counts(61, 40, output=70, reasoning=55),
)

# --- made by chance

_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), include_characters="\n\t"), min_size=1, max_size=30).filter(str.strip)  # fmt: skip
_NAMES = st.sampled_from(["look_up", "send", "x", "do-it_2"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXTS, inner, max_size=2),
    max_leaves=4,
)
_ARGUMENTS = st.dictionaries(_TEXTS, _VALUES, max_size=3)
_TOOLS = st.lists(st.builds(Tool, _NAMES, _TEXTS, st.just(_CITY)), max_size=3, unique_by=lambda one: one.name)
_SAID = st.builds(Text, _TEXTS.map(str.strip))


@st.composite
def conversations(draw: Any) -> Conversation:
    """Any conversation: user and assistant in turn, tool calls answered at once, all by tools that are offered."""
    tools = draw(_TOOLS)
    turns: list[Turn] = []
    calls: list[Call] = []
    for _ in range(draw(st.integers(0, 3))):
        turns.append(_user(draw, calls))
        calls = _calls(draw, tools, f"call_{len(turns)}")
        said = (draw(_SAID),) if not calls or draw(st.booleans()) else ()
        turns.append(Turn("assistant", (*said, *calls)))
    turns.append(_user(draw, calls))
    return Conversation(tuple(turns), draw(_TEXTS.map(str.strip) | st.just("")), tuple(tools), draw(st.integers(100, 3000)))  # fmt: skip


def _user(draw: Any, calls: list[Call]) -> Turn:
    results = [Result(call.id, draw(_TEXTS.filter(lambda text: text.lstrip()[0] not in "{["))) for call in calls]
    said: list[Part] = [draw(_SAID)] if not results or draw(st.booleans()) else []
    if said and draw(st.booleans()):
        said.append(Picture(PIXEL))
    return Turn("user", (*results, *said))


def _calls(draw: Any, tools: list[Tool], prefix: str) -> list[Call]:
    count = draw(st.integers(0, 2)) if tools else 0
    return [Call(f"{prefix}_{number}", draw(st.sampled_from(tools)).name, draw(_ARGUMENTS)) for number in range(count)]


@st.composite
def outcomes(draw: Any) -> Outcome:
    """Any outcome that shows something."""
    thought = [Thought(draw(_TEXTS), SEAL)] if draw(st.booleans()) else []
    said: list[Part] = [draw(st.builds(Text, _TEXTS))] if draw(st.booleans()) else []
    calls = [
        Call(f"call_{number}", draw(_NAMES), draw(_ARGUMENTS))
        for number in range(draw(st.integers(0 if said else 1, 2)))
    ]
    reasoning = draw(st.integers(1, 900)) if thought else 0
    counts = Counts(draw(st.integers(1, 999)), draw(st.integers(0, 999)), 0, reasoning + draw(st.integers(1, 99)), reasoning)  # fmt: skip
    finish = "tools" if calls else draw(st.sampled_from(["stop", "length"]))
    return Outcome((*thought, *said, *calls), finish, counts)
