"""Pictures that a provider keeps at an address of its own: fetched where the client wants them in the reply.

Only the address that the provider gave is fetched, only where the provider's data says that
results are (``results.py``), without the credential.
"""

import base64
from collections.abc import Mapping
from typing import Any

from tokenhub.call import Call
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers import results
from tokenhub.providers.adapter import Pending, UpstreamRequest
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.multipart import Upload
from tokenhub.wire.replies import Reply

_NO_PICTURES = ("text/", "application/json", "application/xml", "application/problem+json")
RETRIES = 2
"""A picture that was paid for is asked for again when its host does not answer."""


def is_per_image(call: Call, deployment: Deployment) -> bool:
    """Say whether this deployment bills images, so that no count of tokens is needed."""
    return deployment.prices.at(call.created_s * 1000).has_unit("image")


def with_bytes(reply: Reply, deployment: Deployment, at: int = 0) -> Reply | Pending:
    """Return the reply with every picture as ``b64_json``: itself, or the next picture that is to be fetched."""
    data: list[dict[str, Any]] = reply.body["data"]
    for position in range(at, len(data)):
        if data[position].get("url") and not data[position].get("b64_json"):
            return _fetched(reply, deployment, position, RETRIES)
    return reply


def _fetched(reply: Reply, deployment: Deployment, position: int, retries: int) -> Pending:
    entry = reply.body["data"][position]
    url = results.checked(deployment.provider, deployment.base_url, str(entry["url"]))

    def read(status: int, headers: Mapping[str, str], body: bytes) -> Reply | Pending:
        if status in (429, 500, 502, 503, 504) and retries:
            return _fetched(reply, deployment, position, retries - 1)
        if status != 200 or not body or headers.get("content-type", "").lower().startswith(_NO_PICTURES):
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, status, "result_unreadable"))
        del entry["url"]
        entry["b64_json"] = base64.b64encode(body).decode()
        return with_bytes(reply, deployment, position + 1)

    request = UpstreamRequest(url, {"accept": "image/*, */*;q=0.1"}, b"", method="GET")
    return Pending(request, read, wait_s=0.0 if retries == RETRIES else 0.5, retries=retries)


def as_asked(reply: Reply, call: Call, deployment: Deployment) -> Reply | Pending:
    """Return the reply in the form the client asked for: addresses pass as they are unless it wants ``b64_json``."""
    return with_bytes(reply, deployment) if call.encoding == "b64_json" else reply


def refuse_beyond(call: Call, deployment: Deployment, *, count: int, inputs: int, streams: bool = False) -> None:
    """Raise InvalidRequest for more images, more inputs or a stream where a provider has none of that."""
    model = deployment.model.id
    if call.choices > count:
        raise InvalidRequest(f"n must be at most {count} for {model!r}; send several requests.", param="n")
    if call.images > inputs:
        what = f"at most {inputs} images to start from" if inputs else "no images to start from"
        raise InvalidRequest(f"{model!r} takes {what}.", param="image")
    if call.stream and not streams:
        raise InvalidRequest(f"The images of {model!r} come whole; leave stream out.", param="stream")


def data_url(picture: Upload | Mapping[str, Any]) -> str:
    """Return a picture to start from as an address, or as a ``data:`` URL with its bytes."""
    if isinstance(picture, Upload):
        return f"data:{picture.content_type};base64,{base64.b64encode(picture.data).decode()}"
    return str(picture["image_url"])
