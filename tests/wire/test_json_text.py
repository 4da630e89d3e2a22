"""JSON from outside is taken as deep as it can be written again, and no deeper."""

import base64

import orjson
import pytest

from tokenhub.wire import json_text, opaque
from tokenhub.wire.json_text import MAX_LEVELS


def nested(levels: int, core: str = "1") -> str:
    return '{"a":' * levels + core + "}" * levels


@pytest.mark.parametrize("kind", [str, str.encode, lambda text: bytearray(text.encode())])
def test_what_is_deep_is_taken_and_what_is_deeper_is_no_json(kind):
    assert orjson.dumps(json_text.loads(kind(nested(MAX_LEVELS)))) == nested(MAX_LEVELS).encode()
    for levels in (MAX_LEVELS + 1, 254, 255, 1_000, 2_000):
        with pytest.raises(orjson.JSONDecodeError):
            json_text.loads(kind(nested(levels)))
        with pytest.raises(orjson.JSONDecodeError):
            json_text.loads(kind("[" * levels + "]" * levels))


def test_brackets_in_a_text_and_side_by_side_are_no_levels():
    many = "[" + ",".join(["[{}]"] * 1_000) + "]"
    assert len(json_text.loads(many)) == 1_000
    text = "{[" * 1_000
    assert json_text.loads(orjson.dumps([text])) == [text]


def test_what_is_taken_leaves_room_for_what_a_translation_adds():
    value = json_text.loads(nested(MAX_LEVELS))
    for _ in range((8 + 16) // 2):
        value = {"inside": [value]}
    assert orjson.dumps(value)


def test_what_a_client_gives_back_sealed_is_nothing_where_it_is_too_deep():
    for levels, taken in ((MAX_LEVELS, True), (MAX_LEVELS + 1, False), (255, False), (900, False)):
        sealed = base64.b64encode(b"tokenhub:" + nested(levels).encode()).decode()
        members = opaque.unpack(sealed)
        assert bool(members) == taken
        assert opaque.pack(members)
