"""An upstream that keeps a real prefix cache, as OpenAI describes its own, and says in its usage what it found there.

A prompt is cached in blocks of 128 tokens from its beginning on, once it has 1024; a block is
found only behind all the blocks before it, and only under the same ``prompt_cache_key``, if one is sent.
Tokens are four characters here.
"""

import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any

from tests.fakes.upstream import Received, Reply, json_reply, openai_chat, openai_error, openai_usage

BLOCK_TOKENS = 128
LEAST_TOKENS = 1024
_BLOCK = BLOCK_TOKENS * 4


class CachingUpstream:
    """A script for a :class:`FakeUpstream`; while ``is_down()`` it answers 503 and keeps what it has cached."""

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], str],
        is_down: Callable[[], bool] = lambda: False,
    ) -> None:
        self._answer = answer
        self._is_down = is_down
        self._known: set[bytes] = set()
        self._lock = threading.Lock()
        self.served = self.refused = 0

    def __call__(self, request: Received) -> Reply:
        if self._is_down():
            self.refused += 1
            return json_reply(openai_error("The server is overloaded.", "server_error"), 503)
        body = request.json()
        text = json.dumps([body.get("tools"), body["messages"]])
        with self._lock:
            cached = self._look_up(str(body.get("prompt_cache_key")), text)
            self.served += 1
        answer = self._answer(body)
        return json_reply(openai_chat(answer, usage=openai_usage(len(text) // 4, len(answer) // 4, cached=cached)))

    def _look_up(self, key: str, text: str) -> int:
        """Return how many tokens of a prompt are cached, and cache all of it."""
        chain, found, hits = key.encode(), True, 0
        for start in range(0, len(text) - _BLOCK + 1, _BLOCK):
            chain = hashlib.blake2b(text[start : start + _BLOCK].encode(), key=hashlib.sha256(chain).digest()).digest()
            found = found and chain in self._known
            hits += found
            self._known.add(chain)
        tokens = hits * BLOCK_TOKENS
        return tokens if tokens >= LEAST_TOKENS else 0
