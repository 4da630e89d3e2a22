"""``/v1/videos`` as its clients speak it: JSON or a form with an uploaded image; the reply is a Video object."""

from typing import Any, ClassVar

import orjson

from tokenhub.call import Call, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.wire import multipart
from tokenhub.wire.json_body import parse_object
from tokenhub.wire.openai_surfaces import OpenAISurface
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import JSON, Arrival, Rendered
from tokenhub.wire.videos import request as videos

FORM = "multipart/form-data"
_STRUCTURED = ("provider", "models")
"""The gateway's own fields that are JSON elsewhere, and a text of JSON in a form."""


class VideosSurface(OpenAISurface):
    """``POST /v1/videos``. Parsing makes the body what travels inside, so both are the same."""

    wire: ClassVar[Wire] = Wire.VIDEOS

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self._content_type = arrival.headers.get("Content-Type", JSON)
        if self._content_type.partition(";")[0].strip().lower() == FORM:
            self.media_type = FORM

    def parse(self, raw: bytes) -> dict[str, Any]:
        if self.media_type == FORM:
            return videos.normalised(_structured(multipart.parse(self._content_type, raw)))
        return videos.normalised(parse_object(raw))

    def call(self, body: dict[str, Any], _size_bytes: int) -> tuple[Call, dict[str, Any]]:
        call = videos.parse_call(body, self.arrival.now_s)
        self.name(call)
        return call, body

    def reply(self, reply: Reply) -> Rendered:
        return Rendered(orjson.dumps(reply.body))


def _structured(fields: dict[str, Any]) -> dict[str, Any]:
    for name in _STRUCTURED:
        if isinstance(fields.get(name), str):
            try:
                fields[name] = orjson.loads(fields[name])
            except orjson.JSONDecodeError:
                raise InvalidRequest(f"{name} must be JSON.", param=name) from None
    return fields
