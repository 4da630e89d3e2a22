"""Try things that fail, and say as JSON how the client tells of it. Runs in a client's environment, beside ``page.py``."""

import json
from collections.abc import Callable
from typing import Any

UNKNOWN, BROKEN = "no-such-model", "Break off, please."
SLOW = "What is the capital of France? Think long."


def report(**attempts: Callable[[], Any]) -> None:
    """Try each, and print by name what came of it."""
    print(json.dumps({name: _tried(attempt) for name, attempt in attempts.items()}))


def _tried(attempt: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": str(attempt())}
    except Exception as error:
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        return {"error": type(error).__name__, "status": status, "message": str(error)}
