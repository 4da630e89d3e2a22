"""``/v1/videos`` as its clients speak it: JSON or a form with an uploaded image; the reply is a Video object."""

from typing import Any, ClassVar

import orjson

from tokenhub.call import Call, Wire
from tokenhub.wire import forms, multipart
from tokenhub.wire.json_body import parse_object
from tokenhub.wire.openai_surfaces import OpenAISurface
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import JSON, Arrival, Rendered
from tokenhub.wire.videos import request as videos


class VideosSurface(OpenAISurface):
    """``POST /v1/videos``. Parsing makes the body what travels inside, so both are the same."""

    wire: ClassVar[Wire] = Wire.VIDEOS

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self._content_type = arrival.headers.get("Content-Type", JSON)
        if forms.is_form(self._content_type):
            self.media_type = multipart.MEDIA_TYPE

    def parse(self, raw: bytes) -> dict[str, Any]:
        if forms.is_form(self._content_type):
            return videos.normalised(forms.parse(self._content_type, raw))
        return videos.normalised(parse_object(raw))

    def call(self, body: dict[str, Any], _size_bytes: int) -> tuple[Call, dict[str, Any]]:
        call = videos.parse_call(body, self.arrival.now_s)
        self.name(call)
        return call, body

    def reply(self, reply: Reply) -> Rendered:
        return Rendered(orjson.dumps(reply.body))
