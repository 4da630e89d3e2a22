"""What is refused is refused with the words to type instead, not with what the program calls it inside."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tokenhub.cli import app
from tokenhub.operations import accounts
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("TOKENHUB_HOME", str(tmp_path / "home"))
    with Hub.init(Home(tmp_path / "home", explicit=True)) as hub:
        accounts.create(hub, "acme")
        yield hub


def said(line: str) -> tuple[int, str]:
    """Run a command line; return its exit code and what it said."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = app.run(line.split())
    return code, out.getvalue() + err.getvalue()


LAB = "providers add lab --model m --base-url http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("models price gpt-4o --provider openai --input 1", "price of its --output too"),
        ("models price gpt-4o --provider openai --input 1 --output 1 --region nope", "'nope', but in: "),
        ("models price gpt-4o --provider openai --input 99999999999999 --output 1", "above 100,000 USD per million"),
        ("models add gpt-4o --provider ollama --input 1", "price of its --output too"),
        ("models add x --provider ollama --input 1 --output 1 --context 10 --max-output 100", "--max-output"),
        ("models add x --provider ollama --input 1 --output 100001", "above 100,000 USD per million"),
        ("models list --region zz", "(ISO 3166) nor eu or self-hosted. Models run in: au, cn, "),
        (f"{LAB} --price 1", "--price IN/OUT"),
        (f"{LAB} --price 1/200000", "above 100,000 USD per million"),
        (f"{LAB} --price 1/2 --context 10 --max-output 11", "--max-output"),
        (f"{LAB} --price 1/2 --data-region zz", "'zz' is no data region"),
        (f"{LAB} --price 1/2 --data-region EU", "'EU' is no data region"),
        (f"{LAB}/chat/completions --price 1/2", "give http://127.0.0.1:9/v1."),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_refusal_names_what_to_type_instead(line: str, words: str) -> None:
    code, text = said(line)
    assert words in text
    assert code in (1, 2)
    assert "Override of" not in text
    assert ".toml" not in text


@pytest.mark.usefixtures("home")
def test_what_is_dear_or_small_but_real_is_taken() -> None:
    assert said(f"{LAB} --price 0/100000 --context 8192 --max-output 8192 --data-region unknown")[0] == 0
    assert said("models add gpt-4o --provider lab --input 1 --output 1 --context 8192")[0] == 0
    assert said("models price gpt-4o --provider lab --region default --input 600 --output 2400")[0] == 0
