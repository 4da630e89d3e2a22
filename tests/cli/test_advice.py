"""What a message tells to do works when it is done: the command that it names, pasted as it stands."""

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import run
from tokenhub.operations import accounts
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home


def advised(text: str, before: str) -> list[str]:
    """Return the words of the command that stands in a message behind these words, up to a semicolon or its end."""
    return shlex.split(text.partition(before)[2].partition(";")[0])


def test_a_home_whose_path_has_a_space_is_made_as_its_absence_advises(tmp_path: Path) -> None:
    home = tmp_path / "Application Support" / "tokenhub"
    missing = run(home, "accounts", "list").err
    (found,) = [line for line in run(home, "doctor").out.splitlines() if "There is no home" in line]
    program, *arguments = advised(missing, "Make one with: ")
    assert f"tokenhub {shlex.join(arguments)}" in found
    assert program == "tokenhub"
    assert run(None, *arguments).code == 0
    (home / "tokenhub.db").unlink()
    assert run(None, *advised(run(home, "accounts", "list").err, "Complete the home with: ")[1:]).code == 0
    assert run(home, "accounts", "list").code == 0


@pytest.mark.parametrize("name", ["master.key", "config.toml"])
def test_a_file_that_is_open_to_others_is_closed_as_is_advised(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / "a home", explicit=True)
    Hub.init(home).close()
    (home.path / name).chmod(0o666)
    refused = run(home.path, "accounts", "list")
    assert refused.code == 1
    subprocess.run(advised(refused.err.lower(), "run: "), check=True)
    assert run(home.path, "accounts", "list").code == 0


def test_a_home_that_is_a_file_is_not_told_to_be_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.touch()
    words = f"{home} is no folder, so no home. Name another: --home DIR, or TOKENHUB_HOME"
    assert run(home, "accounts", "list").err == f"error: {words}\n"
    checked = run(home, "doctor")
    assert checked.code == 1
    assert f"{home} is no folder." in checked.out
    assert "tokenhub init" not in checked.out


@pytest.mark.parametrize("noun", ["keys", "topups"])
def test_an_empty_list_advises_a_command_for_the_account_that_it_is_of(tmp_path: Path, noun: str) -> None:
    with Hub.init(Home(tmp_path, explicit=True)) as hub:
        accounts.create(hub, "acme")
        alone = run(tmp_path, noun, "list").err
        accounts.create(hub, "Müller & Söhne")
    assert "--account" not in alone
    assert run(tmp_path, noun, "list").err.endswith(" --account NAME\n")
    asked = advised(run(tmp_path, noun, "list", "--account", "Müller & Söhne").err, "Make one: ")
    assert asked[-2:] == ["--account", "Müller & Söhne"]
    assert run(tmp_path, *advised(alone, "Make one: ")[1:]).err.startswith("error: There are several accounts")
    assert "several" not in run(tmp_path, *asked[1:]).err


@pytest.mark.parametrize(
    ("wrong", "right"), [("server.prot", "server.port"), ("stripe.secret-key", "stripe.secret_key")]
)
@pytest.mark.parametrize("verb", ["get", "set", "reset"])
def test_an_option_that_is_misspelt_is_told_as_it_is_spelt(tmp_path: Path, verb: str, wrong: str, right: str) -> None:
    Hub.init(Home(tmp_path, explicit=True)).close()
    ended = run(tmp_path, "config", verb, wrong, *["1"] * (verb == "set"))
    assert (ended.code, ended.err) == (2, f"error: '{wrong}' is no option; did you mean {right}?\n")
