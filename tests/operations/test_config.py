"""``tokenhub config``: options are shown with where they come from, and written without harm."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tokenhub import settings
from tokenhub.errors import InvalidRequest, SetupError
from tokenhub.operations import config
from tokenhub.paths import Home

COMMENTED = """\
# My hub.
[server]
port = 9000 # behind nginx
# host = "0.0.0.0"

[log]
level = "debug"
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home", explicit=True)
    made.path.mkdir(mode=0o700)
    return made


def write(home: Home, text: str) -> None:
    home.config.write_text(text)
    home.config.chmod(0o600)


def test_every_option_is_listed_with_its_origin(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, COMMENTED)
    monkeypatch.setenv("TOKENHUB_SERVER_WORKERS", "2")
    listed = {setting.option.key: (setting.shown, setting.origin) for setting in config.listing(home)}
    assert list(listed) == [option.key for option in settings.OPTIONS]
    assert listed["server.port"] == ("9000", "file")
    assert listed["server.workers"] == ("2", "environment")
    assert listed["routing.failover"] == ("true", "default")


def test_i7_a_password_is_never_listed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENHUB_DATABASE_URL", "postgresql://hub:s3cret@db/hub")
    assert config.show(home, "database.url").shown == "postgresql://hub:***@db/hub"
    assert "s3cret" not in "".join(setting.shown for setting in config.listing(home))


def test_a_change_keeps_every_other_line(home: Home) -> None:
    write(home, COMMENTED)
    assert config.change(home, "server.port", "9001").value == 9001
    assert home.config.read_text() == COMMENTED.replace("port = 9000 # behind nginx", "port = 9001")
    config.change(home, "server.host", "0.0.0.0")
    config.change(home, "routing.failover", "false")
    chosen = settings.load(home, environment={})
    assert (chosen.server_port, chosen.server_host, chosen.routing_failover, chosen.log_level) == (
        9001,
        "0.0.0.0",
        False,
        "debug",
    )
    assert "# My hub." in home.config.read_text()
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600


def test_a_file_of_a_windows_editor_is_read_and_changed(home: Home) -> None:
    write(home, "\ufeff" + COMMENTED)
    assert settings.load(home, environment={}).server_port == 9000
    assert config.change(home, "server.port", "9001").value == 9001
    assert home.config.read_text() == COMMENTED.replace("port = 9000 # behind nginx", "port = 9001")
    write(home, "\ufeff" + COMMENTED)
    assert config.without_database(home) == COMMENTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[server]",
        "[server]\nport = 1",
        "server.port = 1\n",
        "server = {port = 1, host = 'x'}\n",
        "[ server ]\n'port' = 1\n",
        "[server]\r\nport = 1\r\n",
        '[server]\nhost = """\\\n  x"""\nport = 1\n',
    ],
)
def test_a_file_in_any_style_can_be_changed(home: Home, text: str) -> None:
    write(home, text)
    before = settings.from_text(text)
    config.change(home, "server.port", "7")
    config.change(home, "server.host", "h")
    config.change(home, "upstream.idle_s", "5")
    assert settings.from_file(home.config) == before | {"server_port": 7, "server_host": "h", "upstream_idle_s": 5.0}
    for key in ("server.host", "server.port", "upstream.idle_s", "upstream.idle_s"):
        config.reset(home, key)
    assert settings.from_file(home.config) == {}


def test_changes_at_the_same_moment_are_all_kept(home: Home) -> None:
    with ThreadPoolExecutor() as threads:
        for number in range(9001, 9021):
            pairs = {"server.port": str(number), "server.workers": str(number - 9000)}
            list(threads.map(lambda pair: config.change(home, *pair), pairs.items()))
            chosen = settings.load(home, environment={})
            assert (chosen.server_port, chosen.server_workers) == (number, number - 9000)


def test_the_first_change_makes_the_file(home: Home) -> None:
    config.change(home, "log.level", "warning")
    assert settings.load(home, environment={}).log_level == "warning"
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("server.prot", "1", "'server.prot' is no option"),
        ("server.port", "many", "server.port must be a whole number"),
        ("server.port", "65536", "server.port must be between 0 and 65535"),
        ("log.level", "loud", "log.level must be one of"),
        ("database.url", "postgresql://hub:s3cret@db/hub", "holds a password"),
        ("server.host", "a\nb", "one line"),
        ("server.host", "", "server.host must be a host alone"),
        ("server.host", "not a host", "must be a host alone"),
        ("server.host", "a/b", "must be a host alone"),
        ("server.host", "host:80", "without a port"),
        ("server.public_url", "hub.example.com", "must be a plain http"),
        ("server.public_url", "https://hub.example.com/?a=b", "without a query"),
        ("server.public_url", "https://hub.example.com:x", "must be a plain http"),
        ("stripe.api_base", "https://stripe.example/v1", "without a path"),
        ("smtp.host", "mail example", "must be a host alone"),
        ("smtp.from", "nobody", "must be an e-mail address"),
        ("notices.email", "a@x, nobody", "must be an e-mail address"),
        ("notices.webhook_url", "ftp://ops.example", "must be a plain http"),
        ("topup.min_usd", "1000000", "must be between"),
    ],
)
def test_t122_what_would_not_start_is_not_written(home: Home, key: str, value: str, words: str) -> None:
    write(home, COMMENTED)
    with pytest.raises(InvalidRequest, match=words) as refused:
        config.change(home, key, value)
    assert home.config.read_text() == COMMENTED
    assert "s3cret" not in str(refused.value)


def test_the_smallest_top_up_stays_below_the_largest(home: Home) -> None:
    config.change(home, "topup.max_usd", "20")
    with pytest.raises(InvalidRequest, match=r"topup\.min_usd must not be above topup\.max_usd \(20\)"):
        config.change(home, "topup.min_usd", "30")
    config.change(home, "topup.min_usd", "20")
    with pytest.raises(InvalidRequest, match=r"topup\.max_usd must not be below topup\.min_usd \(20\)"):
        config.change(home, "topup.max_usd", "19.99")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server.host", "0.0.0.0"),
        ("server.host", "::1"),
        ("server.host", "hub-1.internal"),
        ("server.public_url", "https://example.com/hub/"),
        ("smtp.from", "TokenHub <hub@example.com>"),
        ("notices.email", "a@example.com, b@example.com"),
        ("smtp.host", ""),
        ("notices.webhook_url", "http://10.0.0.5:9000/hooks?team=ops"),
        ("stripe.api_base", "http://127.0.0.1:12111"),
    ],
)
def test_what_a_gateway_can_use_is_taken(home: Home, key: str, value: str) -> None:
    assert config.change(home, key, value).value == value


def test_a_password_in_an_address_is_refused_in_one_sentence(home: Home) -> None:
    with pytest.raises(InvalidRequest, match=r"^database\.url holds a password"):
        config.change(home, "database.url", "postgresql://hub:s3cret@db/hub")


def test_t127_a_broken_file_is_named_and_left_alone(home: Home) -> None:
    write(home, "[server]\nprot = 1\n")
    with pytest.raises(SetupError, match=r"config\.toml:2: "):
        config.change(home, "server.port", "80")
    assert home.config.read_text() == "[server]\nprot = 1\n"
