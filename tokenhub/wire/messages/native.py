"""Messages for upstreams that speak Messages: what of a request is changed, and what a reply says.

All that is changed is what the gateway must decide: the model, the output limit, the region, and what
would be dearer than its hold. Thinking blocks, signatures and cache marks pass as they came; ids of calls
do so where Anthropic takes them.
"""

import operator
from collections.abc import Mapping
from typing import Any

from tokenhub.wire.chat.parts import text_of
from tokenhub.wire.chat.reply import Classify
from tokenhub.wire.chat.request import GATEWAY_FIELDS
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.messages import carry as messages_carry
from tokenhub.wire.messages import common as messages
from tokenhub.wire.messages import reply as messages_reply
from tokenhub.wire.messages.carry import Block
from tokenhub.wire.messages.common import InputCount
from tokenhub.wire.messages.tool_ids import ToolIds
from tokenhub.wire.replies import Reply

EDITS = ("clear_tool_uses_", "clear_thinking_")
"""Context edits that only shorten the prompt. Compaction is another call whose tokens no limit bounds (SDK 2.12.0)."""
_NOT_COUNTED = frozenset({"max_tokens", "metadata", "stop_sequences", "stream", "temperature", "top_k", "top_p"})
"""Fields of a Messages request that ``count_tokens`` does not take (anthropic 2.12.0, MessageCountTokensParams)."""
_NAMES_CALL = {"tool_use": "id", "tool_result": "tool_use_id"}
"""Where a block names its call."""
_SIGNED = ("tool_use", "thinking", "redacted_thinking")


def request(
    body: Mapping[str, Any], upstream_id: str, max_tokens: int, *, checks_signatures: bool, mark_cache: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body for an upstream, and the names of what was left out.

    ``checks_signatures``: the upstream refuses thinking that it did not sign, so the gateway's own stays
    behind. ``mark_cache`` lets it cache the prompt up to its end, where the client placed no mark.
    """
    sent, dropped = _shared(body, upstream_id, checks_signatures)
    sent["max_tokens"] = max_tokens
    _fit_thinking(sent, max_tokens, dropped)
    if mark_cache and not _asks_for_cache(sent):
        sent["cache_control"] = {"type": "ephemeral"}
    return sent, tuple(dropped)


def count_request(body: Mapping[str, Any], upstream_id: str) -> dict[str, Any]:
    """Return the body that asks an upstream how many tokens a prompt has."""
    sent, _ = _shared(body, upstream_id, checks_signatures=True)
    return {name: value for name, value in sent.items() if name not in _NOT_COUNTED}


def _shared(body: Mapping[str, Any], upstream_id: str, checks_signatures: bool) -> tuple[dict[str, Any], list[str]]:
    sent = {name: value for name, value in body.items() if name not in GATEWAY_FIELDS}
    sent["model"] = upstream_id
    dropped: list[str] = []
    _edit_context(sent, dropped)
    if checks_signatures:
        ids = ToolIds()
        kept = [own for turn in sent["messages"] if (own := _without_foreign(turn)) is not None]
        sent["messages"] = [_with_legal_ids(turn, ids) for turn in kept]
    return sent, dropped


def _edit_context(sent: dict[str, Any], dropped: list[str]) -> None:
    management = sent.get("context_management")
    edits = management.get("edits") if isinstance(management, Mapping) else None
    if not isinstance(management, Mapping) or not isinstance(edits, list):
        return
    kept = [edit for edit in edits if isinstance(edit, dict) and str(edit.get("type")).startswith(EDITS)]
    if len(kept) == len(edits):
        return
    dropped.append("context_management.edits")
    if kept:
        sent["context_management"] = {**management, "edits": kept}
    else:
        del sent["context_management"]


def _without_foreign(turn: Any) -> Any:
    """Leave out what Anthropic refuses of other providers' replies; None where nothing is left of a turn.

    Thinking that was made here is theirs, and so are texts of nothing but white space (GLM and Qwen write them before calls).
    """
    content = turn.get("content") if isinstance(turn, dict) and turn.get("role") == "assistant" else None
    if not isinstance(content, list):
        return turn
    kept = [block for block in content if not messages_carry.is_own(block) and not _is_blank(block)]
    if len(kept) == len(content):
        return turn
    return {**turn, "content": kept} if kept else None


def _is_blank(block: Any) -> bool:
    text = block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None
    return isinstance(text, str) and not text.strip()


def _with_legal_ids(turn: Any, ids: ToolIds) -> Any:
    """Rename calls of other providers' replies that would be refused, and what answers them."""
    content = turn.get("content") if isinstance(turn, dict) else None
    if not isinstance(content, list):
        return turn
    if turn.get("role") == "assistant":
        ids.turn()
    named = [_renamed(block, ids) for block in content]
    return turn if all(map(operator.is_, named, content)) else {**turn, "content": named}


def _renamed(block: Any, ids: ToolIds) -> Any:
    member = _NAMES_CALL.get(str(block.get("type"))) if isinstance(block, dict) else None
    given = block.get(member) if member is not None else None
    if not isinstance(given, str):
        return block
    known = ids.called(given) if member == "id" else ids.answered(given)
    return block if known == given else {**block, member: known}


def _fit_thinking(sent: dict[str, Any], max_tokens: int, dropped: list[str]) -> None:
    """Keep the thinking budget below a limit that was lowered; without room for one there is no thinking."""
    thinking = sent.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or not isinstance(budget, int) or budget < max_tokens:
        return
    if max_tokens > messages.MIN_BUDGET:
        sent["thinking"] = {**thinking, "budget_tokens": max_tokens - 1}
    else:
        del sent["thinking"]
        dropped.append("thinking")


def _asks_for_cache(sent: Mapping[str, Any]) -> bool:
    """Return whether the client placed cache marks itself, at any depth of system, tools or turns."""
    waiting: list[Any] = [sent.get("system"), sent.get("tools"), sent["messages"]]
    if "cache_control" in sent:
        return True
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            if "cache_control" in item:
                return True
            waiting.append(item.get("content"))
    return False


# Whole replies -----------------------------------------------------------------------------------


def reply(
    raw: dict[str, Any],
    *,
    classify: Classify = messages.classify_error,
    input_count: InputCount = InputCount.WITHOUT_CACHE,
) -> Reply:
    """Read a whole message, which becomes the reply's body as it is; raises UpstreamFault for what is none (T74)."""
    if raw.get("type") == "error" or raw.get("error"):
        raise UpstreamFault(classify(raw))
    content = raw.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_content_list"))
    raw.setdefault("type", "message")
    raw.setdefault("role", "assistant")
    native = text_of(raw.get("stop_reason"))
    return Reply(
        body=raw,
        usage=messages.parse_usage(raw.get("usage"), input_count),
        finish_reason=messages_reply.finish_reason(native, calls_tool=any(map(calls_tool, content))),
        native_finish_reason=native,
        upstream_id=text_of(raw.get("id")) or None,
        has_content=any(map(shows, content)),
        output_bytes=sum(map(size_bytes, content)),
        served_model=text_of(raw.get("model")),
        bound=any(map(binds, content)),
    )


def shows(block: Block) -> bool:
    """Return whether a block is content: an empty text or thought is none."""
    kind = block.get("type")
    if kind == "text":
        return bool(block.get("text"))
    return kind != "thinking" or bool(block.get("thinking") or block.get("signature"))


def calls_tool(block: Block) -> bool:
    """Return whether a block is a call that the client is to answer."""
    return block.get("type") == "tool_use"


def binds(block: Block) -> bool:
    """Return whether a block ties the next request to its maker: a tool call, or a signature."""
    return block.get("type") in _SIGNED


def size_bytes(block: Block) -> int:
    """Return the size of the generated text in a block, for an estimate (T7)."""
    text = block.get("text") or block.get("thinking")
    if isinstance(text, str):
        return len(text.encode("utf-8", "replace"))
    if not block.get("input"):
        return 0
    return len(messages_reply.arguments(block["input"])) + len(str(block.get("name") or ""))
