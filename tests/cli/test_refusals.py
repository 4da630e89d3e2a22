"""What is refused is refused with the words to type instead, not with what the program calls it inside."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tokenhub.cli import app
from tokenhub.operations import accounts, keys
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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("plans set starter --model-name team/fast", "'team/fast' is not of the form NAME=A,B"),
        (f"plans set starter --sla {'x' * 501}", "--sla has at most 500"),
        ("accounts list --home=", "'--home': it names no folder"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_value_is_refused_by_the_name_that_its_option_has(line: str, words: str) -> None:
    code, text = said(line)
    assert words in text
    assert code == 2


def test_a_backup_does_not_lie_in_the_home_that_it_is_of(home: Hub, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(home.home.path)
    for place in (home.home.path, home.home.path / "backup", tmp_path / "link" / "backup"):
        code, text = said(f"backup {place}")
        assert (code, "lies in the home itself" in text) == (2, True)
    assert said(f"backup {tmp_path / 'backup'}")[0] == 0


@pytest.mark.usefixtures("home")
def test_a_name_that_reads_the_same_is_the_same_account() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert said(f"accounts create {apart}")[0] == 0
    code, text = said(f"accounts create {composed}")
    assert (code, "already" in text) == (1, True)
    for name in (composed, apart):
        assert f"{composed} has 1 USD more" in said(f"grant 1 --account {name}")[1]


@pytest.mark.usefixtures("home")
def test_an_end_is_told_as_it_was_given() -> None:
    assert "the new credit expires after 2996-11-23 UTC." in said("grant 1 --expires 2996-11-23")[1]
    assert "expires 2996-11-23 12:30:00 UTC." in said("grant 1 --expires 2996-11-23T12:30:00Z")[1]
    said("keys create --expires 2996-11-23")
    assert " last day 2996-11-23 " in said("keys list")[1]


def test_what_does_not_end_is_called_never_everywhere(home: Hub) -> None:
    assert said("grant 1 --expires never")[0] == 0
    assert said("keys create --expires never")[0] == 0
    (state,) = keys.listing(home)
    assert state.key.expires_at_ms is None
    for word in ("never", "default"):
        assert said(f"keys set {state.key.id} --expires 30d")[0] == 0
        assert keys.listing(home)[0].key.expires_at_ms is not None
        assert said(f"keys set {state.key.id} --expires {word}")[0] == 0
        assert keys.listing(home)[0].key.expires_at_ms is None


@pytest.mark.usefixtures("home")
def test_what_is_agreed_on_is_told_in_the_words_of_options_and_titles() -> None:
    code, text = said("accounts set acme --rpm 5 --account-rpm 7 --fee-bp 125 --low-balance 3")
    assert (code, text) == (0, "Account acme is changed: --account-rpm, --fee-bp, --low-balance, --rpm.\n")
    shown = said("accounts show acme")[1]
    assert "Service fee = 1.25 %; Requests/min per key = 5; Requests/min in all = 7\n" in shown


@pytest.mark.usefixtures("home")
def test_who_is_limited_to_a_dropped_model_name_is_told() -> None:
    said("plans set starter --model-name starter/fast=gpt-4o --model-name starter/slow=gpt-4o")
    for models in ("starter/fast,gpt-4o", "starter/slow"):
        said(f"keys create --models {models}")
    _, text = said("plans set starter --drop-model-name starter/fast")
    assert text.count("key_") == 1
    assert "Still limited to what was dropped: key_" in text
    _, text = said("plans set starter --drop-model-name starter/slow --model-name starter/slow=gpt-4o-mini")
    assert "Still" not in text


def test_a_credential_without_a_key_says_so_until_it_has_one(home: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(f"{LAB} --price 0/0 --no-key")[0] == 0
    (row,) = credential_rows(home)
    assert (row["secret"], row["label"]) == ("none", "no key")
    monkeypatch.setenv("LAB_KEY", "short")
    assert said(f"credentials rotate {row['id']} --secret-env LAB_KEY")[0] == 0
    (row,) = credential_rows(home)
    assert (row["secret"], row["label"]) == ("hidden", "")


def credential_rows(hub: Hub) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(said(f"credentials list --json --home {hub.home.path}")[1])
    return rows


@pytest.mark.usefixtures("home")
def test_one_fact_has_one_name_in_json() -> None:
    said("grant 1")
    owed = [json.loads(said(f"{line} --json")[1]) for line in ("accounts show", "ledger show", "statement")]
    assert [one["debt_usd"] for one in owed] == ["0", "0", "0"]


@pytest.mark.usefixtures("home")
def test_a_setting_in_json_has_the_type_of_its_default() -> None:
    said("config set server.port 18472")
    rows = json.loads(said("config list --json")[1])
    assert {row["key"]: row["value"] for row in rows}["server.port"] == 18472
    assert [row["key"] for row in rows if type(row["value"]) is not type(row["default"])] == []
    assert json.loads(said("config get routing.failover --json")[1])["value"] is True
    assert said("config get routing.failover")[1] == "true\n"
    assert json.loads(said("config set server.port 18473 --json")[1])["value"] == 18473


def test_a_home_that_is_whole_is_left_as_it_is_by_another_init(home: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in (home.home.config, home.home.master_key)}
    code, text = said("init")
    assert (code, "already" in text and "What was there is kept" in text) == (0, True)
    told = json.loads(said("init --json")[1])
    assert (told["new"], told["instance"]) == (False, home.instance)
    assert {path: path.read_bytes() for path in before} == before
    monkeypatch.setenv("TOKENHUB_MASTER_KEY", "A" * 43 + "=")
    code, text = said("init")
    assert (code, "is not the one this database was made with" in text) == (1, True)


def test_an_init_puts_nothing_in_the_place_of_a_lost_master_key(home: Hub) -> None:
    home.home.master_key.unlink()
    code, text = said("init")
    assert (code, "no master key" in text) == (1, True)
    assert not home.home.master_key.exists()
