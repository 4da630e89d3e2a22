"""The reference pages say what the program does; every command and option is explained, every example parses."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.fakes.upstream import FakeUpstream, json_reply, openai_chat
from tests.harness import start_gateway, temporary_home
from tokenhub import errors, settings
from tokenhub.billing import notices
from tokenhub.billing.payments import EVENT_TYPES
from tokenhub.cli import app, reference
from tokenhub.cli.nouns import NOUNS
from tokenhub.proxy import attempts, routes

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"cli": "cli.md", "configuration": "configuration.md"}


def commands() -> dict[str, Any]:
    """Return every command by the words that call it."""
    found = {}
    for name in NOUNS:
        noun = app.load(name)
        for verb, command in getattr(noun, "commands", {"": noun}).items():
            found[f"tokenhub {name} {verb}".strip()] = command
    return found


COMMANDS = commands()


@pytest.mark.parametrize("page", PAGES)
def test_a_reference_page_is_what_the_program_would_write_now(page: str) -> None:
    written = (DOCS / PAGES[page]).read_text(encoding="utf-8")
    assert written == reference.PAGES[page](), f"run: python -m tokenhub.cli.reference {page} > docs/{PAGES[page]}"


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_and_each_of_its_options_are_explained(path: str) -> None:
    command = COMMANDS[path]
    assert command.help, path
    assert command.help.split("\n")[0].endswith("."), path
    assert command.examples, path
    for param in command.get_params(typer.Context(command)):
        assert param.help, (path, param.opts)
        assert param.help.rstrip()[-1] in ".!", (path, param.opts)
        is_switch = getattr(param, "is_flag", False)
        assert is_switch or (param.metavar and param.metavar.isprintable()), (path, param.opts)


@pytest.mark.parametrize("path", COMMANDS)
def test_each_example_of_a_command_parses(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKENHUB_HOME", str(tmp_path))
    lines = [
        line for example in COMMANDS[path].examples.splitlines() for line in re.split(r" && | \| | \|\| ", example)
    ]
    calls = [shlex.split(line.split(" > ")[0].removeprefix("KEY=$(").removesuffix(")")) for line in lines]
    parsed = [parse(words) for words in calls if words[0] == "tokenhub"]
    assert path in parsed


def parse(words: list[str]) -> str:
    """Parse a command line and return the words that call its command; raises what its user would see."""
    noun = app.load(words[1])
    verbs = getattr(noun, "commands", None)
    command, arguments = (noun, words[2:]) if verbs is None else (verbs[words[2]], words[3:])
    command.make_context(words[1], list(arguments))
    return " ".join(words[: len(words) - len(arguments)])


@pytest.mark.parametrize("kind", notices.NoticeKind)
def test_each_command_that_a_notice_names_parses(kind: notices.NoticeKind) -> None:
    facts = {
        "topup": "topup_1",
        "credential": "7",
        "amount": "20.00",
        "currency": "usd",
        "card": "visa 4242",
        "recharge": "suspended",
    }
    text = notices.words(kind, "Müller & Söhne", facts).text.replace("AMOUNT", "20")
    found = re.findall(r"tokenhub (.+?)(?: {2,}.*)?$", text, re.M)
    assert len(found) == text.count("tokenhub ")
    for line in found:
        parse(["tokenhub", *shlex.split(line)])


def test_every_option_of_the_settings_is_documented() -> None:
    page = (DOCS / PAGES["configuration"]).read_text(encoding="utf-8")
    for option in settings.OPTIONS:
        assert f"| `{option.key}` | `{option.environment}` |" in page
        assert option.help


def test_every_noun_of_the_table_has_a_module_and_every_module_a_noun() -> None:
    folder = Path(app.__file__).parent
    helpers = {
        "__init__",
        "account_rows",
        "app",
        "context",
        "decision",
        "help",
        "live",
        "model_rows",
        "models_own",
        "nouns",
        "price_options",
        "qr",
        "reference",
        "render",
        "routing_explain",
        "tables",
        "values",
    }
    assert {path.stem for path in folder.glob("*.py")} - helpers == set(NOUNS)


def test_the_first_level_says_what_each_noun_says_of_itself() -> None:
    for name, noun in NOUNS.items():
        command = app.load(name)
        assert noun.summary.endswith(".")
        if hasattr(command, "commands"):
            assert command.help == noun.summary


HTTP = (DOCS / "http.md").read_text(encoding="utf-8")
NEVER_SENT = {"Conflict", "SetupError"}
"""What only commands answer with."""
COMMANDS_ALONE = {
    "operations/models.py",
    "operations/own_models.py",
    "operations/providers.py",
    "catalog/fields.py",
    "providers/addresses.py",
}
"""Modules whose errors only commands, or the start, can meet."""
COMMANDS_ALONE |= {
    f"operations/payments/{path.name}"
    for path in (Path(errors.__file__).parent / "operations" / "payments").glob("*.py")
    if path.name != "webhooks.py"
}
SENT = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.HubError) and kind is not errors.HubError
}


def codes_in_the_program() -> set[str]:
    """Return every error code that the sources give to an error which can reach a client."""
    package = Path(errors.__file__).parent
    found = {code for code in attempts._CLIENT_CODES.values() if code is not None}
    for path in package.rglob("*.py"):
        if path.relative_to(package).as_posix() in COMMANDS_ALONE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _makes_an_error(node.func):
                given = [word.value for word in node.keywords if word.arg == "code"]
                found |= {str(value.value) for value in given if isinstance(value, ast.Constant)}
                unread = [value for value in given if not isinstance(value, ast.Constant | ast.Subscript)]
                if isinstance(node.func, ast.Attribute):  # an argument that is handed on is read where it is given
                    unread = [value for value in unread if not (isinstance(value, ast.Name) and value.id == "code")]
                assert not unread, f"{path}: a code that this test cannot read"
    return found | {kind.type for name, kind in SENT.items() if name not in NEVER_SENT}


def _makes_an_error(called: ast.expr) -> bool:
    """Whether this is an error's class, or a class derived from one that hands its code on."""
    if isinstance(called, ast.Attribute):
        return called.attr == "__init__" and isinstance(called.value, ast.Call)
    return isinstance(called, ast.Name) and called.id in SENT


def test_every_error_code_that_a_client_can_see_is_documented_and_no_other() -> None:
    told = codes_in_the_program()
    assert {code for code in told if f"`{code}`" not in HTTP} == set()
    table = HTTP[HTTP.index("| HTTP | `type`") :].splitlines()[2:]
    rows = [line.split("|") for line in table if line.startswith("| ")]
    documented = {code for row in rows for cell in row[2:4] for code in re.findall(r"`([a-z_]+)`", cell)}
    assert documented >= told - {"client_left"}
    assert documented - told == set()


def test_every_error_type_is_documented_with_its_status() -> None:
    for name, kind in SENT.items():
        if name not in NEVER_SENT:
            assert re.search(rf"^\| {kind.status} \| [^|]*`{kind.type}`", HTTP, re.M), kind.type


def test_every_path_is_documented() -> None:
    for path in routes.ROUTES:
        assert path == "/" or f"{path}`" in HTTP or f"{path}?" in HTTP, path


def test_every_header_and_field_of_a_reply_is_documented(tmp_path: Path) -> None:
    gateway = start_gateway(temporary_home(tmp_path))
    try:
        with FakeUpstream([json_reply(openai_chat("Yes."))]) as upstream:
            gateway.add_credential("openai", upstream.url)
            reply = gateway.chat("gpt-4o-mini")
            assert reply.status == 200, reply.body
            pages = [
                gateway.call("GET", path).json()["data"]
                for path in ("/v1/key", "/v1/credits", f"/v1/generation?id={reply.headers['x-request-id']}")
            ]
            model = gateway.call("GET", "/v1/models/gpt-4o-mini").json()
    finally:
        gateway.stop()
    usage = reply.json()["usage"]
    for fields in (*pages, model):
        assert {name for name in fields if f"`{name}`" not in HTTP} == set()
    shown = [name for part in (usage, *usage.values()) if isinstance(part, dict) for name in part]
    assert {name for name in shown if f'"{name}"' not in HTTP} == set()
    ours = [name for name in reply.headers if name.startswith("x-")]
    assert len(ours) > 8
    ends = {name: name.removeprefix("x-tokenhub").removeprefix("x-ratelimit") for name in ours}
    assert {name for name, end in ends.items() if f"`{name}`" not in HTTP and f"`{end}`" not in HTTP} == set()


PAGES_BY_HAND = [
    page
    for page in (*DOCS.rglob("*.md"), *(DOCS.parent / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")))
    if page.name not in PAGES.values()
]


@pytest.mark.parametrize("page", PAGES_BY_HAND, ids=lambda page: page.stem)
def test_every_command_that_a_page_names_is_there(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKENHUB_HOME", str(tmp_path))
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^(?:\$ |    )?(?:echo .* \| )?(tokenhub (?!serves).+)$", text, re.M):
        parse(shlex.split(line, comments=True))
    for words in (found.split() for found in re.findall(r"`tokenhub ([a-z][^`]*)`", text)):
        verbs = getattr(app.load(words[0]), "commands", None)
        assert verbs is None or len(words) == 1 or words[1] in verbs, words
        command = app.load(words[0]) if verbs is None or len(words) == 1 else verbs[words[1]]
        options = {option for param in command.params for option in param.opts + param.secondary_opts}
        assert {word for word in words if word.startswith("--")} <= options | {"--home", "--json"}, words


@pytest.mark.parametrize("page", PAGES_BY_HAND, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_page_on_stripe_names_the_events_that_mean_something_here() -> None:
    """One that were missing would never reach an operator's endpoint."""
    step = next(
        part
        for part in (DOCS / "stripe.md").read_text(encoding="utf-8").split("\n2. ")[1:]
        if "Select these events" in part
    )
    named = re.findall(
        r"`((?:checkout|payment_intent|charge|refund|payment_method|radar)\.[a-z_.]+)`", step.split("\n3. ")[0]
    )
    assert sorted(named) == sorted(EVENT_TYPES)


NAMED_PIECEMEAL = {f"{kind}_not_reconciled" for kind in ("topup", "refund", "dispute", "recharge")}
"""Events of ``operations/payments/rounds.py``, whose names are put together."""


def test_the_page_on_running_it_names_every_event_of_the_log() -> None:
    package, logged = Path(errors.__file__).parent, set(NAMED_PIECEMEAL)
    for path in package.rglob("*.py"):
        logged |= set(re.findall(r"\blog\.(?:event|failure)\(\s*\"([a-z_]+)\"", path.read_text(encoding="utf-8")))
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    table = page[page.index("| events | what they say |") :].partition("\n\n")[0]
    named = {event for row in table.splitlines() for event in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    assert named == logged
