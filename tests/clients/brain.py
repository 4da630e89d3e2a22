"""What the model behind the scripted upstream says: the same in every dialect, and only from what it was asked.

A client is proven by what it prints, so an answer depends on what reached the upstream: a tool
is called only if it was offered, and its result is repeated only if it came back.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

CITIES = {"Paris": "France", "Rome": "Italy"}
SHELLS = ("bash", "shell", "run_shell_command", "exec_command", "shell_command")
EDIT = """greeting.py
```python
<<<<<<< SEARCH
print("Hello")
=======
print("Bonjour")
>>>>>>> REPLACE
```
"""
"""What aider is told; the formatter gives the page's file these quotes."""
OBSERVED = "Observation:"
"""How smolagents begins what the user says when it is a tool's result."""
NAMED = {"city": "Paris", "country": "France", "answer": "Paris.", "description": "Asked for by the user"}
"""What the model puts into a field of this name."""


@dataclass(frozen=True)
class Ask:
    """One request, as far as the model reads it."""

    prompt: str
    """The last thing the user said."""
    everything: str
    """All text of the conversation, instructions included."""
    tools: dict[str, Any]
    """Name to JSON schema. A tool called ``exec`` is Codex's: it takes JavaScript, as ``input``."""
    results: tuple[str, ...] = ()
    """Of the tools called since the user spoke."""
    must_call: bool = False
    forced: str = ""
    schema: Any = None
    """Of the answer, where it has to be JSON."""


@dataclass(frozen=True)
class Say:
    """The answer: words, or calls of tools."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = field(default=())


def think(ask: Ask) -> Say:
    """Return what the model says."""
    results = ask.results or ((ask.prompt,) if ask.prompt.startswith(OBSERVED) else ())
    if results:
        told = f"The tool says: {' and '.join(_gist(result) for result in results)}"
        return Say(calls=(("final_answer", {"answer": told}),)) if "final_answer" in ask.tools else Say(told)
    calls = _calls(ask)
    if calls:
        return Say(calls=calls)
    if ask.schema is not None:
        return Say(json.dumps(sample(ask.schema, ask.schema)))
    return Say(_words(ask))


def _gist(result: str) -> str:
    """What a tool found, out of what the client wraps around it."""
    printed = re.search(r"answer=\d+", result)
    weather = re.search(r"(?:sunny|rainy) in (?:Paris|Rome)", result)
    found = printed or weather
    return found.group() if found else result.strip()


def _calls(ask: Ask) -> tuple[tuple[str, dict[str, Any]], ...]:
    command = re.search(r"Run `([^`]+)`", ask.prompt)
    shell = next((name for name in ask.tools if name.lower() in SHELLS), "")
    if command and shell:
        return ((shell, _command(ask.tools[shell], command.group(1))),)
    weather = next((name for name in ask.tools if "weather" in name), "")
    if weather and "weather" in ask.prompt:
        cities = [city for city in CITIES if city in ask.prompt]
        return tuple((weather, {"city": city}) for city in cities)
    if command and "exec" in ask.tools:
        return (("exec", {"input": f"text(await tools.exec_command({json.dumps({'cmd': command.group(1)})}))"}),)
    name = ask.forced or (next(iter(ask.tools), "") if ask.must_call else "")
    return ((name, sample(ask.tools[name], ask.tools[name])),) if name else ()


def _command(schema: Any, command: str) -> dict[str, Any]:
    """Arguments of a shell tool: the command, and whatever else it insists on."""
    properties = schema.get("properties", {})
    field_name = "cmd" if "cmd" in properties else "command"
    is_list = properties.get(field_name, {}).get("type") == "array"
    others = {name: sample(properties[name], schema) for name in schema.get("required", ()) if name != field_name}
    return {field_name: ["bash", "-c", command] if is_list else command, **others}


def _words(ask: Ask) -> str:
    if "[[ ## answer ## ]]" in ask.everything:
        return "[[ ## answer ## ]]\nParis.\n\n[[ ## completed ## ]]"
    if "SEARCH/REPLACE" in ask.everything and "greeting.py" in ask.everything:
        return EDIT
    return "Paris." if "capital of France" in ask.prompt else "Well."


def sample(schema: Any, root: Any, name: str = "") -> Any:
    """Return a value that fits a JSON schema."""
    if "$ref" in schema:
        return sample(_followed(schema["$ref"], root), root, name)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return sample(schema[word][0], root, name)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    kind = str(schema.get("type", "string")).lower()
    if kind == "object":
        return {key: sample(one, root, key) for key, one in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample(schema["items"], root, name)] if schema.get("items") else []
    return {"integer": 42, "number": 42.5, "boolean": False}.get(kind, NAMED.get(name, "Paris"))


def _followed(reference: str, root: Any) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        root = root[step]
    return root
