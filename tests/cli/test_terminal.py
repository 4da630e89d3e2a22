"""The program on a real terminal: hostile data stays inert, questions are asked, secrets are not echoed."""

import json
import re
from pathlib import Path

import pytest

from tests.cli import rows
from tests.cli.program import data, run_on_terminal
from tokenhub.operations import accounts, grants, keys
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home

HOSTILE = "x\x1b[2J\x1b]0;owned\x07\x9b31m\r\b\u202egnp\u2066[/red]"
"""Clears the screen, sets the title, colours, returns, steps back, turns the line round, and breaks rich's markup."""

OWN_COLOURS = re.compile(rb"\x1b\[[0-9;]*m")
"""The only sequences that the program itself may send."""

BORDER = "====== the next command ======"

COLUMNS = {
    "accounts": ("name", "email"),
    "plans": ("support", "sla"),
    "keys": ("name", "prefix", "replaced_by"),
    "lots": ("note",),
    "credentials": ("provider", "region", "label", "base_url", "hint", "status_reason"),
    "requests": (
        "capability",
        "model",
        "provider",
        "region",
        "upstream_id",
        "error_code",
        "finish_reason",
        "native_finish_reason",
        "price_version",
    ),
    "customers": ("card",),
    "recharges": ("reason",),
    "topups": ("payment_intent", "url", "reason", "offered"),
    "refunds": ("stripe_id", "reason"),
    "disputes": ("id", "status"),
    "secrets": ("hint",),
}
"""Every text that comes from outside and is shown somewhere."""

COMMANDS = (
    ("accounts", "list"),
    ("accounts", "show", "1"),
    ("keys", "list"),
    ("keys", "show", "key_hostile"),
    ("topups", "show", "topup_hostile"),
    ("topups", "show", "topup_hostile", "--json"),
    ("config", "list"),
    ("config", "get", "stripe.webhook_secret"),
    ("plans", "list"),
    ("plans", "show", "starter"),
    ("ledger", "show", "--account", "1"),
    ("credentials", "list"),
    ("requests", "list"),
    ("requests", "show", "req_hostile"),
    ("usage", "--by", "model"),
    ("usage", "--by", "key"),
    ("usage", "--by", "provider"),
    ("usage", "--by", "account"),
    ("usage", "--by", "model", "--csv"),
    ("accounts", "list", "--json"),
    ("keys", "revoke", "key_hostile", "--yes", "--json"),
    ("credentials", "disable", "1", "--json"),
    ("accounts", "disable", "1"),
)


@pytest.fixture(scope="module")
def hostile_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which every text is hostile, written past the checks that would refuse it."""
    home = Home(tmp_path_factory.mktemp("hostile") / "home", explicit=True)
    with Hub.init(home) as hub:
        account = accounts.create(hub, "acme").account
        grants.grant(hub, account.id, 10**9, expires_at_ms=None)
        keys.create(hub, account.id)
        with hub.database.write():
            hub.database.execute("UPDATE keys SET id = 'key_hostile'")
            hub.database.execute(
                "INSERT INTO credentials (provider, region, label, insecure_http, sealed, hint, status, status_reason, weight, created_at) "
                "VALUES ('openai', 'global', '', 0, ?, '', 'failed', '', 1, 0)",
                (b"",),
            )
            attempts = json.dumps([{"deployment": HOSTILE, "outcome": HOSTILE, "status": 500, "ms": 1}])
            rows.request(hub, id="req_hostile", account_id=account.id, key_id="key_hostile", attempts=attempts)
            rows.purchase(hub, account.id, "topup_hostile")
            hub.database.execute("UPDATE plans SET model_names = ?", (json.dumps({HOSTILE: [HOSTILE]}),))
            hub.database.execute("UPDATE keys SET models = ?", (json.dumps([HOSTILE]),))
            for table, fields in COLUMNS.items():
                for field in fields:
                    value = json.dumps([HOSTILE]) if field == "offered" else HOSTILE
                    hub.database.execute(f"UPDATE {table} SET {field} = ?", (value,))
    return home.path


EACH = f"""
import fcntl, json, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from tokenhub.cli.app import run
for arguments in json.loads(sys.argv[1]):
    code = run(arguments)
    print({BORDER!r}, code, flush=True)
"""
"""Runs one command after another on one terminal."""


@pytest.fixture(scope="module")
def shown(hostile_home: Path) -> dict[tuple[str, ...], bytes]:
    """What the terminal got from each command; its last line is the exit code."""
    _, everything = run_on_terminal(hostile_home, [json.dumps(COMMANDS)], main=EACH)
    parts = everything.split(BORDER.encode())
    codes = [part.split()[0] for part in parts[1:]]
    assert codes == [b"0"] * len(COMMANDS), everything
    bodies = [parts[0], *(part.partition(b"\n")[2] for part in parts[1:])]
    return dict(zip(COMMANDS, bodies, strict=False))


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_t120_no_byte_of_data_reaches_the_terminal_as_a_command(
    shown: dict[tuple[str, ...], bytes], arguments: tuple[str, ...]
) -> None:
    text = OWN_COLOURS.sub(b"", shown[arguments]).replace(b"\r\n", b"\n").decode()
    assert "x\\x1b[2J" in text or "x\\u001b[2J" in text
    assert all(char.isprintable() or char == "\n" for char in text), text
    assert b"\x1b[31m" not in shown[arguments]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = Home(tmp_path / "home", explicit=True)
    with Hub.init(home) as hub:
        keys.create(hub, accounts.create(hub, "acme").account.id)
    return home.path


def key_of(home: Path) -> tuple[str, str]:
    """Return the id and the status of the one key."""
    with Hub.open(Home(home, explicit=True)) as hub:
        (state,) = keys.listing(hub)
    return state.key.id, state.key.status.value


@pytest.mark.parametrize(
    ("answer", "code", "status"),
    [(b"y\n", 0, "revoked"), (b"n\n", 1, "active"), (b"\n", 1, "active"), (b"maybe\n", 1, "active")],
)
def test_t126_what_cannot_be_taken_back_is_asked_for(home: Path, answer: bytes, code: int, status: str) -> None:
    key, _ = key_of(home)
    ended, shown = run_on_terminal(home, ("keys", "revoke", key), [(b"[y/N]", answer)])
    assert ended == code
    assert key.encode() in shown
    assert b"acme" in shown
    assert key_of(home) == (key, status)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [(("keys", "revoke", "{key}"), b"[y/N] "), (("credentials", "add", "openai"), b"while you type): ")],
)
@pytest.mark.parametrize(("typed", "code", "said"), [(b"\x03", 130, b""), (b"\x04", 1, b"nothing was changed")])
def test_a_question_that_is_given_up_ends_its_line(
    home: Path, arguments: tuple[str, ...], asked: bytes, typed: bytes, code: int, said: bytes
) -> None:
    key, _ = key_of(home)
    ended, shown = run_on_terminal(home, [one.format(key=key) for one in arguments], [(asked, typed)])
    behind = OWN_COLOURS.sub(b"", shown.partition(asked)[2]).replace(b"^C", b"").replace(b"^D", b"").replace(b"\b", b"")
    assert ended == code
    assert behind.startswith(b"\r\n")
    assert said in behind
    assert behind.count(b"\r\n") == (2 if said else 1)


def test_t121_a_secret_that_is_typed_is_not_shown(home: Path) -> None:
    secret = b"sk-canary-aaaabbbbccccddddeeee"
    code, shown = run_on_terminal(home, ("credentials", "add", "openai"), [(b"not shown", secret + b"\n")])
    assert code == 0
    assert secret not in shown
    assert data(home, "credentials", "list")[0]["secret"] == "…eeee"


def test_t121_a_secret_of_the_installation_is_typed_unseen(home: Path) -> None:
    secret = b"whsec_canary0123456789abcd"
    code, shown = run_on_terminal(
        home, ("config", "set", "stripe.webhook_secret"), [(b"(not shown while you type)", secret + b"\n")]
    )
    assert code == 0
    assert secret not in shown
    assert b"it ends in \xe2\x80\xa6abcd." in shown
    assert data(home, "config", "get", "stripe.webhook_secret")["value"] == "…abcd"


def test_keys_of_the_environment_are_taken_one_by_one_when_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli import program

    found = {"OPENAI_API_KEY": "sk-aaaabbbbccccddddeeeeffff", "DEEPSEEK_API_KEY": "sk-deepdeepdeepdeepdeepdeep"}
    surroundings = program.surroundings
    monkeypatch.setattr(program, "surroundings", lambda home, more=None: surroundings(home, {**found, **(more or {})}))
    answers = [(b"OPENAI_API_KEY", b"n\n"), (b"DEEPSEEK_API_KEY", b"y\n")]
    code, _ = run_on_terminal(home, ("credentials", "import"), answers)
    assert code == 0
    assert [one["provider"] for one in data(home, "credentials", "list")] == ["deepseek"]


def test_an_id_is_whole_on_a_narrow_terminal(home: Path) -> None:
    key, _ = key_of(home)
    _, shown = run_on_terminal(home, ("keys", "list"), more={"COLUMNS": "80"})
    lines = OWN_COLOURS.sub(b"", shown).decode().split("\r\n")
    assert all(len(line) <= 80 for line in lines[:-2]), lines
    assert any(line.startswith(key) for line in lines)
    assert any(line.startswith("Too narrow here for: ") for line in lines)
    _, wide = run_on_terminal(home, ("keys", "list"))
    assert b"Too narrow" not in wide


def test_a_terminal_gets_bold_headings(home: Path) -> None:
    _, shown = run_on_terminal(home, ("accounts", "list"))
    assert b"\x1b[1m" in shown
