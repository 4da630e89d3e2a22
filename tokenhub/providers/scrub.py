"""An upstream's text made fit to be shown: no keys, ids, addresses or control characters in it (T113)."""

import re

from tokenhub.wire import words

MAX_CHARS = 500
MAX_PARAM_CHARS = 128
GAP = "[…]"
"""Stands where something was taken out."""

_SECRETS = re.compile(
    r"""
      [a-z][a-z0-9+.-]*://[^\s"'<>`)]+                                  # any URL
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+                                      # e-mail address
    | \S*\*{2,}\S*                                                      # a key with its middle starred out
    | \bBearer\s+\S+
    | \b(?:sk|pk|rk|th|gsk|xai|key|nvapi|hf|whsec)[-_][\w-]{6,}         # keys by their prefix
    | \bAIza[\w-]{10,}
    | \b(?:org|proj|project|user|acct|req|request|msg|resp|rs|chatcmpl|run|file|ws|team|asst|toolu|call|llm)[-_](?=[\w-]*\d)[\w-]{6,}
    | \bprojects?[/_\s:]+(?:number)?:?\s?[\w-]*\d[\w-]*                 # projects/123456
    | \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b  # UUID
    | \b(?=[a-z0-9]*\d)(?=[a-z0-9]*[a-z])[a-z0-9]{16,}\b                # long words of letters and digits
    | \b[\w+/-]{40,}={0,2}                                              # any very long word
    | \b\d{10,}\b                                                       # account numbers, time stamps
    | \b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b                              # IPv4 address
    | \b[\w-]+(?:\.[\w-]+)*\.(?:internal|local|lan|svc|corp|intra)\b(?::\d+)?
    | \b[\w-]+(?:\.[\w-]+)+:\d{2,5}\b                                   # host and port
    """,
    re.IGNORECASE | re.ASCII | re.VERBOSE,
)
_NOT_PARAM = re.compile(r"[^A-Za-z0-9_.\[\]-]", re.ASCII)


def scrub(text: str) -> str:
    """Return a provider's text without secrets, ids and addresses, on one line, at most 500 characters."""
    shown = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_CHARS])
    shown = " ".join(_SECRETS.sub(GAP, shown).split())
    return shown if len(shown) <= MAX_CHARS else shown[: MAX_CHARS - 1] + "…"


def code_word(value: object) -> str:
    """Return a provider's code word as a Failure carries it; nothing where a secret is in it."""
    word = words.code_word(value)
    return "" if _SECRETS.search(word) else word


def param(value: object) -> str | None:
    """Return the name of the field at fault, or None where it is no name."""
    if not isinstance(value, str):
        return None
    return _NOT_PARAM.sub("", _SECRETS.sub("", value[: 4 * MAX_PARAM_CHARS]))[:MAX_PARAM_CHARS] or None
