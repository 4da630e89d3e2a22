"""Google generateContent, the wire itself: finish reasons and usage.

JSON is camelCase. A reply is a GenerateContentResponse: ``candidates[]`` with content parts
and a ``finishReason``, ``promptFeedback`` when the prompt was blocked, ``usageMetadata``.
"""

from collections.abc import Mapping

from tokenhub.usage import Usage, count, count_in

FINISH_REASONS: Mapping[str, str] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "LANGUAGE": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
"""Google's finish reason to OpenAI's. A reason that is not here (MALFORMED_FUNCTION_CALL, OTHER,
one that is new) is a failure of the upstream if nothing came with it, else a plain ``stop``."""


def finish_reason(native: str, *, has_calls: bool) -> str:
    """Return OpenAI's finish reason; STOP after function calls means ``tool_calls`` (569 of 574 recordings)."""
    return "tool_calls" if native == "STOP" and has_calls else FINISH_REASONS.get(native, "stop")


_PLAIN_INPUT = frozenset({"TEXT", "VIDEO", "DOCUMENT", "MODALITY_UNSPECIFIED"})


def parse_usage(raw: object) -> Usage | None:
    """Read ``usageMetadata`` into disjoint buckets; None when it is absent or makes no sense (T9).

    ``promptTokenCount`` contains cached tokens, ``candidatesTokenCount`` leaves thoughts out and
    is absent when 0, and ``totalTokenCount`` is the sum of prompt, candidates, thoughts and
    tool-use prompt (2 143 of 2 143 recordings): more than that sum is counted as *unknown*,
    less is nonsense. A first event may carry ``trafficType`` alone (Vertex): no usage yet.
    """
    if not isinstance(raw, dict) or raw.get("promptTokenCount") is None:
        return None
    prompt, cached = count_in(raw, "promptTokenCount"), count_in(raw, "cachedContentTokenCount")
    candidates, thoughts = count_in(raw, "candidatesTokenCount"), count_in(raw, "thoughtsTokenCount")
    tool_use = count_in(raw, "toolUsePromptTokenCount")
    if prompt is None or cached is None or candidates is None or thoughts is None or tool_use is None:
        return None
    given = _modalities(raw.get("promptTokensDetails"), prompt)
    read = _modalities(raw.get("cacheTokensDetails"), cached)
    made = _modalities(raw.get("candidatesTokensDetails"), candidates)
    known = prompt + candidates + thoughts + tool_use
    total = count(raw.get("totalTokenCount", known))
    if given is None or read is None or made is None or total is None or total < known or cached > prompt:
        return None
    fresh = _fresh(_input_split(given, prompt), _input_split(read, 0), cached)
    image_output = made.get("IMAGE", 0)
    unknown_output = sum(tokens for modality, tokens in made.items() if modality not in ("TEXT", "IMAGE"))
    return Usage(
        input=fresh["input"] + tool_use,
        cache_read=cached,
        audio_input=fresh["audio"],
        image_input=fresh["image"],
        output=candidates - image_output - unknown_output + thoughts,
        reasoning=thoughts,
        image_output=image_output,
        unknown=fresh["unknown"] + unknown_output + total - known,
        unknown_input=fresh["unknown"],
    )


def _modalities(details: object, total: int) -> dict[str, int] | None:
    """Return tokens per modality of a ``…TokensDetails`` list; None when they are more than the total."""
    if details is None:
        return {}
    if not isinstance(details, list):
        return None
    split: dict[str, int] = {}
    for detail in details:
        if not isinstance(detail, dict):
            return None
        tokens, modality = count_in(detail, "tokenCount"), detail.get("modality")
        if tokens is None:
            return None
        if isinstance(modality, str):  # numbers come with $alt=json;enum-encoding=int, which is never asked for
            split[modality] = split.get(modality, 0) + tokens
    return split if sum(split.values()) <= total else None


def _input_split(modalities: Mapping[str, int], total: int) -> dict[str, int]:
    """Return input tokens as the four kinds that are priced apart; what no detail names is plain input."""
    split = {"input": 0, "image": modalities.get("IMAGE", 0), "audio": modalities.get("AUDIO", 0), "unknown": 0}
    for modality, tokens in modalities.items():
        if modality in _PLAIN_INPUT:
            split["input"] += tokens
        elif modality not in ("IMAGE", "AUDIO"):
            split["unknown"] += tokens
    split["input"] += max(total - sum(modalities.values()), 0)
    return split


def _fresh(prompt: dict[str, int], read: Mapping[str, int], cached: int) -> dict[str, int]:
    """Take the cached tokens out: each kind as far as it is named, the rest from text, images, audio in turn."""
    left = cached
    for limits in (read, dict.fromkeys(prompt, cached)):
        for kind in prompt:
            taken = min(prompt[kind], limits[kind], left)
            prompt[kind] -= taken
            left -= taken
    return prompt
