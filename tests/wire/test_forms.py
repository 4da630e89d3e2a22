"""The gateway's own fields in a form: both spellings are the object they stand for, and nothing else passes."""

import pytest

from tests.wire.test_multipart import TYPE, form, text
from tokenhub.errors import InvalidRequest
from tokenhub.wire import forms


def read(*fields: tuple[str, str]) -> dict[str, object]:
    return forms.parse(TYPE, form(*(text(name, value) for name, value in fields)))


def test_members_as_openais_sdk_writes_them_are_one_object():
    assert read(
        ("model", "m"),
        ("provider[ignore][]", "openai"),
        ("provider[ignore][]", "alibaba@cn-beijing"),
        ("provider[data_collection]", "deny"),
        ("provider[allow_fallbacks]", "false"),
        ("provider[require_parameters]", "true"),
        ("provider[max_price][prompt]", "2.5"),
        ("models[]", "a"),
        ("models[]", "b"),
        ("timestamp_granularities[]", "word"),
    ) == {
        "model": "m",
        "provider": {
            "ignore": ["openai", "alibaba@cn-beijing"],
            "data_collection": "deny",
            "allow_fallbacks": False,
            "require_parameters": True,
            "max_price": {"prompt": "2.5"},
        },
        "models": ["a", "b"],
        "timestamp_granularities": ["word"],
    }


def test_json_is_the_same_object():
    assert read(("provider", '{"ignore": ["openai"]}'), ("models", '["a"]')) == {
        "provider": {"ignore": ["openai"]},
        "models": ["a"],
    }


def test_an_object_may_come_in_both_spellings():
    both = {"ignore": ["a"], "only": ["b"]}
    assert read(("provider", '{"ignore": ["a"]}'), ("provider[only][]", "b")) == {"provider": both}
    assert read(("provider[only][]", "b"), ("provider", '{"ignore": ["a"]}')) == {"provider": both}


@pytest.mark.parametrize(
    "fields",
    [
        (("provider", '{"ignore": ["a"], "ignore": ["b"]}'),),
        (("provider", '{"data_collection": "deny", "data_collection": "allow"}'),),
        (("provider", '{}, "models": ["a"]'),),
        (("provider", '{"ignore": ["a"]'),),
        (("models", "a, b"),),
        (("provider", '{"ignore": ["a"]}'), ("provider[ignore][]", "b")),
        (("provider[max_price]", "1"), ("provider[max_price][prompt]", "2")),
        (("provider[max_price][prompt]", "2"), ("provider[max_price]", "1")),
        (("provider.ignore", "a"),),
        (("provider[ignore", "a"),),
        (("provider[]ignore", "a"),),
        (("provider[ignore]x", "a"),),
        (("provider[a][b][c][d][e]", "a"),),
        (("extra_headers.authorization", "a"),),
        (("session_id.x", "a"),),
    ],
)
def test_what_is_no_such_object_or_comes_twice_is_refused(fields):
    with pytest.raises(InvalidRequest):
        read(*fields)


def test_a_member_of_a_control_field_is_that_field():
    assert read(("extra_headers[authorization]", "x")) == {"extra_headers": {"authorization": "x"}}


def test_members_of_other_fields_are_the_providers():
    assert read(("chunking_strategy[type]", "server_vad")) == {"chunking_strategy[type]": "server_vad"}
