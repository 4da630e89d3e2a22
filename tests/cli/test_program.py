"""The program as a process: exit codes, streams, imports, and what it does without a terminal."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.program import DEADLINE_S, command, data, run, start, surroundings
from tokenhub.cli import app
from tokenhub.cli.nouns import NOUNS
from tokenhub.operations import accounts, keys
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home

ESCAPE = "\x1b"
HEAVY = (
    "aiohttp",
    "cryptography",
    "orjson",
    "peewee",
    "psycopg",
    "pydantic",
    "rich.table",
    "segno",
    "stripe",
    "tokenhub.catalog",
    "uvloop",
)


def made(path: Path, account: str = "acme") -> Path:
    """Make a home with an account and a key."""
    home = Home(path, explicit=True)
    with Hub.init(home) as hub:
        keys.create(hub, accounts.create(hub, account).account.id)
    return home.path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the account acme; the tests here add to it and rely on nothing else."""
    return made(tmp_path_factory.mktemp("program") / "home")


@pytest.fixture(scope="module")
def one_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one account and one key, which no test changes."""
    return made(tmp_path_factory.mktemp("program") / "home")


def loaded_by(home: Path, *arguments: str) -> set[str]:
    """Return which of the heavy packages a command has loaded."""
    ask = (
        "import sys; from tokenhub.cli.app import run; code = run(sys.argv[1:]); "
        f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    ended = subprocess.run(
        command(*arguments, main=ask),
        capture_output=True,
        text=True,
        env=surroundings(home),
        timeout=DEADLINE_S,
        check=True,
    )
    return set(ended.stderr.splitlines()[-1].split()[1:])


def test_help_loads_nothing_that_takes_long(home: Path) -> None:
    assert loaded_by(home, "--help") == set()
    assert loaded_by(home, "keys", "create", "--help") == set()


def test_making_a_key_loads_the_database_and_little_else(home: Path) -> None:
    assert loaded_by(home, "keys", "create", "--rpm", "5") <= {"peewee", "psycopg"}


def test_without_arguments_every_noun_is_shown() -> None:
    ended = start(None)
    assert ended.code == 0
    assert all(f"\n  {noun.name} " in ended.out for noun in NOUNS.values())
    assert "tokenhub credentials add openai" in ended.out
    assert ended.err == ""


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("tokenhub ke", ["keys"]),
        ("tokenhub keys r", ["rotate", "revoke"]),
        ("tokenhub keys create --sp", ["--spend-limit"]),
    ],
)
def test_a_shell_completes_nouns_verbs_and_options(typed: str, completed: list[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    ended = start(None, more={"_TOKENHUB_COMPLETE": "complete_bash", **words})
    assert (ended.code, ended.out.split()) == (0, completed)


def test_the_key_stands_alone_on_stdout(home: Path) -> None:
    ended = start(home, "keys", "create")
    assert ended.code == 0
    assert ended.out.startswith("th-")
    assert ended.out.count("\n") == 1
    assert "only time" in ended.err


def test_home_and_json_stand_before_or_behind_the_command(home: Path) -> None:
    shown = start(home, "accounts", "list", "--json").out
    assert json.loads(shown)[0]["name"] == "acme"
    for arguments in (
        ("--json", "--home", str(home), "accounts", "list"),
        ("accounts", "list", "--home", str(home), "--json"),
        ("--home", "/nowhere", "--json", "accounts", "list", "--home", str(home)),
    ):
        assert start(None, *arguments).out == shown


@pytest.mark.parametrize(
    "arguments", [("--help",), ("keys", "create", "--help"), ("accounts", "list"), ("keys", "nope"), ("doctor",)]
)
def test_t123_no_colour_without_a_terminal(home: Path, arguments: tuple[str, ...]) -> None:
    ended = start(home, *arguments, more={"TERM": "xterm-256color"})
    assert ESCAPE not in ended.out + ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "revoke", "key_0"),
        ("keys", "rotate", "key_0", "--grace", "0s"),
        ("credentials", "add", "openai"),
        ("credentials", "import"),
        ("config", "set", "stripe.secret_key"),
        ("config", "set", "stripe.secret_key", "sk_test_0123456789abcdef"),
        ("providers", "remove", "lab"),
        ("chat", "hello"),
    ],
)
def test_t123_nothing_waits_for_input_without_a_terminal(one_key: Path, arguments: tuple[str, ...]) -> None:
    ended = start(one_key, *arguments, more={"OPENAI_API_KEY": "sk-aaaabbbbccccddddeeeeffff"})
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1


def test_t123_a_failure_is_one_line_on_stderr_and_exit_code_1(home: Path) -> None:
    ended = start(home, "accounts", "show", "nobody", "--json")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: There is no account 'nobody'. See: tokenhub accounts list\n"


def test_an_internal_error_shows_no_traceback_and_no_text_of_it(home: Path) -> None:
    broken = "from tokenhub.operations import accounts; accounts.listing = lambda hub: 1 / 0; "
    ask = f"{broken}from tokenhub.cli.app import main; main()"
    ended = subprocess.run(
        command("accounts", "list", main=ask),
        capture_output=True,
        text=True,
        env=surroundings(home),
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: Internal error (ZeroDivisionError).")
    assert ended.stderr.count("\n") == 1


def test_a_crash_leaves_no_prompt_and_no_key_on_the_disk(home: Path) -> None:
    """The limit holds for a gateway's workers and its embedded model too: they inherit it."""
    limits = (
        "import resource, sys; core = resource.RLIMIT_CORE; most = resource.getrlimit(core)[1]\n"
        "resource.setrlimit(core, (most, most))\n"
        "from tokenhub.cli.app import main\n"
        "try: main()\n"
        "finally: print(resource.getrlimit(core), file=sys.stderr)"
    )
    ended = subprocess.run(
        command("accounts", "list", main=limits), capture_output=True, text=True, env=surroundings(home),
        timeout=DEADLINE_S, check=True,
    )  # fmt: skip
    assert ended.stderr == "(0, 0)\n"


def opened(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The program at work, with a pipe from each of its outputs."""
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(*arguments), **outputs, text=True, env=surroundings(home))


def test_a_reader_that_leaves_early_sees_no_traceback(home: Path) -> None:
    with opened(home, "config", "list", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait(DEADLINE_S) in (0, 1)


@pytest.mark.parametrize("arguments", [("config", "list"), ("config", "list", "--json"), ("usage", "--csv")])
def test_output_that_cannot_be_written_is_one_line_and_exit_code_1(home: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, env=surroundings(home),
            timeout=DEADLINE_S, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: The output, or a file of the home, cannot be written (No space left")
    assert ended.stderr.count("\n") == 1


CLOSED = (
    "import json, sys\n"
    "from tokenhub.cli.app import main\n"
    "for words in json.loads(sys.argv.pop()):\n"
    "    sys.argv[1:] = words\n"
    "    try: main()\n"
    "    except SystemExit as ended: print(ended.code, file=sys.stderr)\n"
)
"""Runs one command line after another as the program does."""


def without(home: Path, stream: str, *lines: list[str]) -> list[str]:
    """Run command lines in one process that was started without a standard stream; return what it said."""
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {stream}', "sh", *command(json.dumps(lines), main=CLOSED)],
        capture_output=True, text=True, env=surroundings(home), timeout=DEADLINE_S, check=True,
    )  # fmt: skip
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def test_a_closed_stdin_is_an_empty_one(one_key: Path) -> None:
    (key,) = data(one_key, "keys", "list")
    said = without(
        one_key, "<&-",
        ["keys", "revoke", key["id"]],
        ["keys", "rotate", key["id"], "--grace", "0s"],
        ["credentials", "add", "openai", "--secret-stdin"],
        ["config", "set", "smtp.password"],
        ["routing", "explain", "gpt-4o", "--body", "-"],
        ["chat", "", "--stdin"],
    )  # fmt: skip
    assert said[1::2] == ["2"] * 6
    assert [line for line in said[::2] if not line.startswith("error: ") or "Internal" in line] == []


def test_a_closed_stdout_fails_what_writes_to_it_and_nothing_else(one_key: Path) -> None:
    said = without(one_key, ">&-", ["keys", "list"], ["config", "set", "log.level", "info"])
    assert said[0].startswith("error: The output is closed")
    assert said[1] == "1"
    assert said[-1] == "0"


def test_a_key_that_could_not_be_shown_is_named_so_that_it_can_be_revoked(home: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            command("keys", "create", "--account", "acme"), stdout=full, stderr=subprocess.PIPE, text=True,
            env=surroundings(home), timeout=DEADLINE_S, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    newest = max(data(home, "keys", "list"), key=lambda key: key["id"])["id"]
    assert ended.stderr.splitlines()[-1].endswith(f"tokenhub keys revoke {newest}")
    assert ended.stderr.count("\n") == 2


def test_bytes_that_are_no_text_name_nothing(one_key: Path) -> None:
    ended = start(one_key, "accounts", "show", "\udcff\udcfe")
    assert (ended.code, ended.out) == (2, "")
    assert "is not UTF-8 text" in ended.err


def test_a_hint_names_the_home_that_was_named(tmp_path: Path) -> None:
    home = made(tmp_path / "a home")
    place = f"tokenhub --home '{home}'"
    ended = run(None, "accounts", "create", "b", "--home", str(home))
    assert ended.err.splitlines()[1] == f"Next: {place} grant 10 --account b; {place} keys create --account b"
    assert f"See: {place} accounts list" in run(None, "accounts", "show", "c", "--home", str(home)).err
    checks = json.loads(run(None, "doctor", "--json", "--home", str(home)).out)["findings"]
    assert f"{place} credentials add PROVIDER" in [check["remedy"] for check in checks]
    assert "--home" not in run(home, "accounts", "create", "d", "--home", str(home)).err


@pytest.mark.parametrize("host", ["not a host", "a..b", "a/b"])
def test_chat_cannot_be_sent_to_what_is_no_host(one_key: Path, host: str) -> None:
    more = {"TOKENHUB_API_KEY": f"th-{'a' * 43}", "TOKENHUB_SERVER_HOST": host}
    for words in ((), ("--address", f"{host}:80")):
        ended = run(one_key, "chat", "hi", *words, more=more)
        assert ended.code in (1, 2)
        assert "Internal" not in ended.err
        assert ended.err.startswith("error: ")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/xx", "/proc/self"])
def test_a_home_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    named = tmp_path / place
    ended = start(None, "init", "--home", str(named))
    assert (ended.code, ended.out) == (1, "")
    assert str(named) in ended.err
    assert "--home DIR" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("host", ["999.1.1.1", "192.0.2.7", "a..b"])
def test_an_address_that_is_not_this_machines_is_not_mended_by_another_port(home: Path, host: str) -> None:
    ended = start(home, "serve", "--host", host, "--port", "0", "--no-local")
    assert ended.code == 1
    assert f"Cannot listen on {host!r}: it is no address of this machine" in ended.err
    assert "--host" in ended.err
    assert "--port" not in ended.err


def test_a_key_that_is_none_is_told_from_one_that_is_missing(home: Path) -> None:
    assert "Put a key into the environment" in start(home, "chat", "hi").err
    ended = start(home, "chat", "hi", more={"TOKENHUB_API_KEY": "sk-canary-0123456789"})
    assert ended.code == 2
    assert "none of TokenHub's" in ended.err
    assert "canary" not in ended.err


def test_output_that_a_terminal_cannot_encode_is_spelled_out(tmp_path: Path) -> None:
    home = made(tmp_path / "home", "Größe")
    ended = start(home, "accounts", "list", more={"PYTHONIOENCODING": "ascii"})
    assert ended.code == 0
    assert "Gr\\xf6\\xdfe" in ended.out


def test_t124_an_interrupt_ends_a_followed_list_quietly(home: Path) -> None:
    with opened(home, "requests", "list", "--follow") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Ended (UTC)")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert messages == ""


def test_a_request_that_is_waited_for_is_said_to_be(home: Path) -> None:
    request = f"req_{'0' * 32}"
    with opened(home, "requests", "show", request, "--follow") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(f"Waiting for request {request} to end")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130


def test_t121_no_option_takes_a_secret() -> None:
    names = []
    for name in NOUNS:
        noun = app.load(name)
        for verb in getattr(noun, "commands", {name: noun}).values():
            names += [option for param in verb.params if not getattr(param, "is_flag", False) for option in param.opts]
    suspicious = [name for name in names if any(word in name for word in ("secret", "password", "token", "api-key"))]
    assert sorted(set(suspicious)) == ["--max-tokens", "--secret-env"]


def test_t121_a_secret_shows_on_no_command_line(home: Path) -> None:
    secret = "sk-canary-aaaabbbbccccddddeeee"
    with subprocess.Popen(
        command("credentials", "add", "openai", "--secret-stdin", "--json"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings(home),
    ) as process:  # fmt: skip
        arguments = Path(f"/proc/{process.pid}/cmdline")
        line = arguments.read_bytes() if arguments.exists() else b""
        out, err = process.communicate(f"{secret}\n", timeout=DEADLINE_S)
    assert process.returncode == 0
    assert secret.encode() not in line
    assert secret not in out + err
    assert json.loads(out)["secret"] == "…eeee"


def test_t91_a_home_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    home = tmp_path / "typo"
    ended = start(home, "accounts", "list")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"error: There is no TokenHub home at {home}. Make one with: tokenhub init --home {home}\n"
    assert not home.exists()


def test_t127_a_broken_setting_is_named_with_file_and_line(tmp_path: Path) -> None:
    home = made(tmp_path / "home")
    (home / "config.toml").write_text('[server]\nport = "many"\n')
    ended = start(home, "accounts", "list")
    assert ended.code == 1
    assert f"{home}/config.toml:2: server.port must be a whole number" in ended.err
    assert "many" not in ended.err


def test_t129_a_fresh_home_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    umask = "import os; os.umask(0); from tokenhub.cli.app import main; main()"
    subprocess.run(
        command("init", main=umask), env=surroundings(home), check=True, capture_output=True, timeout=DEADLINE_S
    )
    assert home.stat().st_mode & 0o777 == 0o700
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    shown = start(home, "config", "get", "server.host")
    assert shown.out == "127.0.0.1\n"
    assert data(home, "keys", "list") == []
    assert data(home, "accounts", "list") == []
