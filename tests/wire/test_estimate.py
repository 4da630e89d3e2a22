"""The stated rule by which tokens are counted when the upstream reports none."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.wire import estimate


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("abcde", 2),
        ("Grüße", 2),
        ("世界", 2),
        ("世界ab", 3),
        ("🌍", 1),
        ("안녕하세요", 5),
        ("Привет мир", 5),
    ],
)
def test_four_bytes_or_one_wide_character_are_a_token(text: str, tokens: int) -> None:
    assert estimate.of_text(text) == tokens


@given(st.text())
def test_t7_an_estimate_is_never_0_for_a_text_and_never_more_than_its_bytes(text: str) -> None:
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    assert (1 if text else 0) <= estimate.of_text(text) <= size_bytes
    assert (1 if text else 0) <= estimate.of_bytes(size_bytes) <= size_bytes


def test_a_prompt_counts_texts_calls_and_schemas_but_no_pictures_by_their_bytes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    body = {
        "model": "a-model-name-that-does-not-count",
        "messages": [
            {"role": "system", "content": "abcd"},
            {"role": "user", "content": [{"type": "text", "text": "abcdefgh"}, picture]},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "abcd", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "世界"},
        ],
        "tools": [{"type": "function"}],
    }
    messages = 4 * estimate.MESSAGE_TOKENS
    assert estimate.of_prompt(body) == messages + 1 + 2 + estimate.ATTACHMENT_TOKENS + 1 + 1 + 2 + 6


@pytest.mark.parametrize(
    ("given_input", "tokens"), [("abcdefgh", 2), (["abcd", "abcd"], 2), ([1, 2, 3], 3), ([[1, 2], [3]], 3)]
)
def test_an_embeddings_input_counts_its_texts_or_its_tokens(given_input: object, tokens: int) -> None:
    assert estimate.of_prompt({"input": given_input}) == tokens


@pytest.mark.parametrize("kind", ["text/plain", "text/csv;charset=utf-8", "application/json"])
def test_t7_a_text_file_is_estimated_by_its_size_and_a_pdf_by_nothing_it_cannot_tell(kind: str) -> None:
    data = base64.b64encode(b"word " * 6000).decode()

    def ask(kind: str) -> int:
        file = {"filename": "a", "file_data": f"data:{kind};base64,{data}"}
        return estimate.of_prompt({"messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]})

    assert ask(kind) == pytest.approx(30_000 / 4, rel=0.01)
    assert ask("application/pdf") == estimate.MESSAGE_TOKENS + estimate.ATTACHMENT_TOKENS
