"""``/v1/images/generations`` and ``/v1/images/edits`` as OpenAI's clients speak them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from tokenhub.call import Call, Wire
from tokenhub.errors import HubError
from tokenhub.usage import Usage
from tokenhub.wire import forms, multipart, sse
from tokenhub.wire.chat import frames as chat_frames
from tokenhub.wire.images import reply as images_reply
from tokenhub.wire.images import request as images
from tokenhub.wire.openai_surfaces import OpenAISurface
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import Arrival, End, Rendered


class ImagesSurface(OpenAISurface):
    """Generations: a JSON body."""

    wire: ClassVar[Wire] = Wire.IMAGES
    edits: ClassVar[bool] = False

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self._told: Mapping[str, Any] = {}

    def parse(self, raw: bytes) -> dict[str, Any]:
        return images.without_empty(super().parse(raw))

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        del size_bytes  # pictures are bounded as pictures, not by their bytes
        call = images.parse_call(body, self.arrival.now_s, edits=self.edits)
        self.name(call)
        return call, body

    def reply(self, reply: Reply) -> Rendered:
        told = reply.body.pop("usage", None)
        self._told = told if isinstance(told, dict) else {}
        return Rendered(orjson.dumps(reply.body), "usage")

    def usage(self, usage: Usage, cost: Mapping[str, Any], _reply: Reply | None) -> Mapping[str, Any]:
        return {**images_reply.render_usage(usage), **self._told, **cost}

    def ending(self, held: bytes, end: End) -> bytes:
        """Return the frames of whole images; the last one tells the usage of all, and the cost."""
        kept = sse.frames_of(held)
        if not kept:
            return b""
        name, data = sse.parse(kept[-1])
        event = orjson.loads(data or b"{}")
        told = event.get("usage")
        self._told = told if isinstance(told, dict) and len(kept) == 1 else {}
        event["usage"] = self.usage(end.usage, end.cost, None)
        return b"".join(frame + b"\n\n" for frame in kept[:-1]) + sse.encode(orjson.dumps(event), name)

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        return sse.encode(orjson.dumps({"type": "error", **chat_frames.render_error(error, request_id)}), "error")


class ImageEditsSurface(ImagesSurface):
    """Edits: a form with files, or the same as JSON with addresses (OpenAI's clients send either)."""

    edits: ClassVar[bool] = True

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self._content_type = next(
            (text for name, text in arrival.headers.items() if name.lower() == "content-type"), ""
        )
        if forms.is_form(self._content_type):
            self.media_type = multipart.MEDIA_TYPE

    def parse(self, raw: bytes) -> dict[str, Any]:
        if forms.is_form(self._content_type):
            return images.without_empty(images.from_form(forms.parse(self._content_type, raw)))
        return super().parse(raw)
