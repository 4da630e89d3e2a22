"""An OpenAI images request as DashScope's native API takes it, and its replies back: sync, and by task.

Model Studio, qwen-image and wan, text to image and image editing, 2026-11; eight recordings
of wanx of 2025-12. ``n`` is always sent: left out, wanx makes four.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenhub.call import Call
from tokenhub.usage import Units, Usage
from tokenhub.wire.chat import request as chat
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.images import reply as images_reply
from tokenhub.wire.images import request as images
from tokenhub.wire.replies import Reply

SYNC_PATH = "services/aigc/multimodal-generation/generation"
TASK_PATHS: Mapping[str, str] = {
    "text2image": "services/aigc/text2image/image-synthesis",
    "image2image": "services/aigc/image2image/image-synthesis",
    "image-generation": "services/aigc/image-generation/generation",
}
"""The trait ``image_task``, to where such a task is made."""
DONE, FAILED = "SUCCEEDED", frozenset({"FAILED", "CANCELED", "UNKNOWN"})

_PARAMETERS = frozenset({"negative_prompt", "prompt_extend", "watermark", "seed", "prompt_extend_mode"})
_READ = frozenset({"model", "prompt", "n", "size", "images", "response_format", "stream", "partial_images"})


def request(
    body: Mapping[str, Any], upstream_id: str, task: str, pictures: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the upstream's body and the names of the fields that were left out.

    ``task`` is the trait, ``pictures`` what an edit starts from, as addresses.
    """
    given = {name: value for name, value in chat.outgoing(body).items() if value is not None}
    parameters = {name: value for name, value in given.items() if name in _PARAMETERS}
    parameters["n"] = given.get("n", 1)
    if given.get("size") not in images.AUTO:
        parameters["size"] = str(given["size"]).replace("x", "*")
    sent = {"model": upstream_id, "input": _input(given["prompt"], task, pictures), "parameters": parameters}
    return sent, tuple(sorted(given.keys() - _PARAMETERS - _READ))


def _input(prompt: str, task: str, pictures: Sequence[str]) -> dict[str, Any]:
    if task == "text2image":
        return {"prompt": prompt, **({"ref_img": pictures[0]} if pictures else {})}
    if task == "image2image":
        return {"prompt": prompt, "images": list(pictures)}
    content = [*({"image": one} for one in pictures), {"text": prompt}]
    return {"messages": [{"role": "user", "content": content}]}


def status_of(output: Mapping[str, Any]) -> str:
    """Return a task's status; empty where the reply is the result itself."""
    found = output.get("task_status")
    return found if isinstance(found, str) else ""


def output_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``output`` of a reply; raises UpstreamFault where there is none."""
    output = raw.get("output")
    if not isinstance(output, dict):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_images"))
    return output


def reply(raw: Mapping[str, Any], call: Call) -> Reply:
    """Read a result, whole or of a task: the addresses of its pictures, billed one by one."""
    output = output_of(raw)
    data: list[dict[str, Any]] = [{"url": url} for url in _urls(output)]
    for entry, told in zip(data, _results(output), strict=False):
        if isinstance(told.get("actual_prompt"), str):
            entry["revised_prompt"] = told["actual_prompt"]
    body = {"created": call.created_s, "data": data}
    size = _size(raw.get("usage"))
    if size:
        body["size"] = size
    units = (Units("image", len(data), images.variant_of({"size": size}, call.image_words)),) if data else ()
    return images_reply.build(body, Usage(units=units))


def _urls(output: Mapping[str, Any]) -> list[str]:
    found = [one.get("url") for one in _results(output)]
    choices = output.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        message = choice.get("message") if isinstance(choice, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        found += [
            part.get("image") for part in (content if isinstance(content, list) else []) if isinstance(part, dict)
        ]
    return [url for url in found if isinstance(url, str) and url]


def _results(output: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A task's results that are pictures; one that failed has a code in its place."""
    results = output.get("results")
    return [one for one in results if isinstance(one, dict) and one.get("url")] if isinstance(results, list) else []


def _size(usage: object) -> str:
    if not isinstance(usage, dict):
        return ""
    width, height = usage.get("width"), usage.get("height")
    return f"{width}x{height}" if type(width) is int and type(height) is int else ""
