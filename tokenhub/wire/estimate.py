"""Estimates: how many tokens a text is when the upstream did not say.

An estimate is the count made locally when a reply carries no usage (T7); it is settled and
marked ``estimated``. It is a stated rule, not a tokenizer, so that it is the same on every
machine and can be checked by hand:

* a character from U+2E80 on (Chinese, Japanese, Korean, emoji) is one token;
* all other text is one token per four bytes of UTF-8, rounded up;
* a chat message adds 4 tokens, an image or another attached file 258 (what Gemini counts
  for a picture tile; other providers count 85 to 1 600), but a text file one per four bytes.

An estimate of a text is never 0 unless the text is empty, and never more than its bytes.
"""

from collections.abc import Mapping
from typing import Any

import orjson

BYTES_PER_TOKEN = 4
MESSAGE_TOKENS = 4
ATTACHMENT_TOKENS = 258

_FIRST_WIDE = "\u2e80"
_ATTACHMENTS = frozenset({"image_url", "input_audio", "file", "video_url"})
_TEXT_FILES = ("data:text/", "data:application/json")
_NOT_PROMPT = frozenset({"role", "type", "id", "tool_call_id", "extra_content", "thinking_blocks", "cache_control"})
_SCHEMAS = ("tools", "functions", "response_format")


def of_bytes(size_bytes: int) -> int:
    """Return the tokens of a text of which only the size in bytes is known."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def of_text(text: str) -> int:
    """Return the tokens of a text."""
    if text.isascii():
        return of_bytes(len(text))
    wide = "".join(character for character in text if character >= _FIRST_WIDE)
    return len(wide) + of_bytes(_size_bytes(text) - _size_bytes(wide))


def of_prompt(body: Mapping[str, Any]) -> int:
    """Return the tokens of everything in a chat or embeddings body that becomes prompt."""
    messages = body.get("messages")
    overhead = MESSAGE_TOKENS * len(messages) if isinstance(messages, list) else 0
    schemas = sum(of_bytes(len(orjson.dumps(body[name]))) for name in _SCHEMAS if body.get(name))
    return overhead + schemas + _of_texts(messages) + _of_texts(body.get("input"))


def _of_texts(value: Any) -> int:
    """Count the texts of messages or of an embeddings input; a number there is a token already."""
    tokens = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            tokens += of_text(item)
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            tokens += sum(_of_attachment(item[name]) for name in _ATTACHMENTS & item.keys())
            waiting.extend(inner for key, inner in item.items() if key not in _ATTACHMENTS | _NOT_PROMPT)
        elif item is not None:
            tokens += 1
    return tokens


def _of_attachment(holder: Any) -> int:
    """Count an attachment; how long a PDF or a recording is cannot be told from its size."""
    data = holder.get("file_data") if isinstance(holder, dict) else None
    if isinstance(data, str) and data.startswith(_TEXT_FILES):
        return of_bytes(len(data) * 3 // 4)  # base64
    return ATTACHMENT_TOKENS


def _size_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
