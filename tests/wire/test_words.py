"""Words of an upstream that are kept: a code, a model's name, an id; never a text."""

import pytest

from tokenhub.wire import words

PROMPT = "Your prompt was: My name is Alice Smith, diagnosis HIV"


@pytest.mark.parametrize(
    "code",
    ["Throttling.RateQuota", "RESOURCE_EXHAUSTED", "rate_limit-1.2", "1302", "vendor:quota", "invalid_request_error"],
)
def test_a_code_is_kept_as_it_is(code):
    assert words.code_word(code) == code


def test_a_number_is_a_code():
    assert words.code_word(1302) == "1302"


@pytest.mark.parametrize(
    "text", [PROMPT, "two words", "a\nb", "a\n", "sk-1 \x1b[31m\n<b>é", "x" * 65, "", None, True, [], {}, 1.5]
)
def test_t112_what_is_no_code_is_left_out_whole(text):
    assert words.code_word(text) == ""


@pytest.mark.parametrize(
    "name",
    ["gpt-4o-2024-08-06", "accounts/fireworks/models/x", "meta-llama/Llama-3.3:free", "@cf/meta/llama", "x" * 128],
)
def test_a_models_name_is_kept(name):
    assert words.model_name(name) == name


@pytest.mark.parametrize(
    "id", ["chatcmpl-9a_B", "models/veo-3.1/operations/a1", "1b2f-4c", "gen-1763800000-x", "QUJD+/==", "x" * 512]
)
def test_an_id_is_kept(id):
    assert words.id_of(id) == id


@pytest.mark.parametrize("text", [PROMPT, "a b", "a\n", "é", "x" * 513, "", None])
def test_t112_a_text_is_neither_name_nor_id(text):
    assert words.model_name(text) is None
    assert words.id_of(text) is None
