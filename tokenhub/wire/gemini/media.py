"""What of a Gemini request is no text, wherever it stands: counted for the bound, and nobody else's.

The count is of the body as Google will read it: also of a model's turns and of what a tool
returned, which a translation may leave out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.values import value
from tokenhub.wire import attached
from tokenhub.wire.gemini import parts as gemini_parts


@value
class Media:
    """The counts of ``Call`` with these names."""

    images: int = 0
    audio_parts: int = 0
    files: int = 0


def media_of(body: Mapping[str, Any]) -> Media:
    """Count the media of a request, its names in camelCase.

    An inline text is text: its bytes are its bound. Sound at an address has no size here, so
    it counts as a file, as video does and whatever has no type, or an address that tells another one than a picture's.
    Raises InvalidRequest for an address that Google would read with the operator's key.
    """
    counts = {"image": 0, "audio": 0, "file": 0}
    for part, place in _all_parts(body):
        blob, file = part.get("inlineData"), part.get("fileData")
        if isinstance(blob, Mapping):
            family = kind_of(blob).partition("/")[0]
            if family != "text":
                counts[family if family in counts else "file"] += 1
        if file is not None:
            _check(file, f"{place}.fileData")
            counts["image" if _is_picture(file) else "file"] += 1
    return Media(counts["image"], counts["audio"], counts["file"])


def kind_of(holder: Any) -> str:
    """Return the media type of a blob or file in lower case; empty where it has none."""
    kind = holder.get("mimeType") if isinstance(holder, Mapping) else None
    return kind.lower() if isinstance(kind, str) else ""


def _is_picture(file: Any) -> bool:
    return kind_of(file).startswith("image/") and attached.is_picture(attached.kind_of(file["fileUri"]))


def parts_of(content: Any, place: str) -> list[Mapping[str, Any]]:
    """Return the parts of a Content; a single one may stand without its list, a text without its part.

    Raises InvalidRequest for parts that are no objects.
    """
    given = content.get("parts") if isinstance(content, Mapping) else None
    parts = given if isinstance(given, list) else [] if given is None else [given]
    found = [{"text": part} if isinstance(part, str) else part for part in parts]
    if not all(isinstance(part, Mapping) for part in found):
        raise InvalidRequest(f"{place} must be a list of objects.", param=place)
    return found


def _all_parts(body: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    contents = body.get("contents")
    listed = contents if isinstance(contents, list) else [contents]
    places = [(body.get("systemInstruction"), "systemInstruction")]
    places += [(content, f"contents[{position}]") for position, content in enumerate(listed)]
    for content, place in places:
        for position, part in enumerate(parts_of(content, f"{place}.parts")):
            here = f"{place}.parts[{position}]"
            yield part, here
            answer = part.get("functionResponse")
            for inner in parts_of(answer, f"{here}.functionResponse.parts"):
                yield inner, f"{here}.functionResponse.parts"


def _check(file: Any, place: str) -> None:
    url = file.get("fileUri") if isinstance(file, Mapping) else None
    if not isinstance(url, str):
        raise InvalidRequest(f"{place} needs a fileUri.", param=f"{place}.fileUri")
    gemini_parts.public_url(url, f"{place}.fileUri")
