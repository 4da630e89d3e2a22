"""T127: every option comes from its place, and what is wrong stops the start with file and line."""

from pathlib import Path

import pytest

from tokenhub import settings
from tokenhub.errors import SetupError
from tokenhub.paths import Home
from tokenhub.settings import BY_KEY, OPTIONS, Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, explicit=True)


def write(home: Home, text: str | bytes, mode: int = 0o600) -> None:
    home.config.write_bytes(text if isinstance(text, bytes) else text.encode())
    home.config.chmod(mode)


def test_without_a_file_every_option_has_its_default(home: Home) -> None:
    assert settings.load(home, environment={}) == Settings()


def test_the_file_is_below_the_environment_and_that_below_flags(home: Home) -> None:
    write(home, "[server]\nport = 1001\nhost = '0.0.0.0'\nworkers = 3\n")
    environment = {"TOKENHUB_SERVER_PORT": "1002", "TOKENHUB_SERVER_WORKERS": "2"}
    chosen = settings.load(home, {"server.port": 1003, "server.workers": None}, environment=environment)
    assert (chosen.server_host, chosen.server_port, chosen.server_workers) == ("0.0.0.0", 1003, 2)


def test_every_default_passes_its_own_check_and_has_help() -> None:
    for option in OPTIONS:
        assert option.check(option.default) == option.default
        assert option.help
        assert "." not in option.help[-1:]
        assert option.environment == "TOKENHUB_" + option.key.replace(".", "_").upper()
        assert BY_KEY[option.key] is option


def test_every_option_can_be_set_in_each_place(home: Home) -> None:
    for option in OPTIONS:
        if option.type is str:
            continue
        value = not option.default if option.type is bool else option.type(option.low or option.high)
        text = str(value).lower()
        section, _, name = option.key.partition(".")
        write(home, f"[{section}]\n{name} = {text}\n")
        assert getattr(settings.load(home, environment={}), option.name) == value
        assert getattr(settings.load(home, environment={option.environment: text}), option.name) == value
        assert getattr(settings.load(home, {option.key: value}, environment={}), option.name) == value


def test_a_whole_number_does_for_a_time(home: Home) -> None:
    write(home, "[server]\nkeep_alive_s = 20\n")
    assert settings.load(home, environment={}).server_keep_alive_s == 20.0


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[server]\nport = 80\n[sever]\nport = 1\n", 3, "'sever' is no option; did you mean server?"),
        ("[server]\nprot = 80\n", 2, "'server.prot' is no option; did you mean server.port?"),
        ("[server]\n\n# note\nport = '80'\n", 4, "server.port must be a whole number"),
        ("[server]\nport = 80.5\n", 2, "server.port must be a whole number"),
        ("[server]\nport = true\n", 2, "server.port must be a whole number"),
        ("[server]\nport = 65536\n", 2, "server.port must be between 0 and 65535"),
        ("[server]\nport = -1\n", 2, "server.port must be between 0 and 65535"),
        ("[server]\nport = 99999999999999999999\n", 2, "server.port must be between"),
        ("[server]\nport = [80]\n", 2, "server.port must be a whole number"),
        ("[server]\nport = {a = 1}\n", 2, "server.port must be a whole number"),
        ("[server]\nhost = 5\n", 2, "server.host must be a text"),
        ('[server]\nhost = "a\\nb"\n', 2, "server.host must be one line of text"),
        ('[server]\nhost = "a\\u0000b"\n', 2, "server.host must be one line of text"),
        ("[server]\nheader_timeout_s = nan\n", 2, "must be between 1 and 300"),
        ("[server]\nheader_timeout_s = inf\n", 2, "must be between 1 and 300"),
        ("[server]\nheader_timeout_s = '30'\n", 2, "must be a number"),
        ("[server]\nheader_timeout_s = false\n", 2, "must be a number"),
        ("[server]\nheader_timeout_s = 1979-05-27\n", 2, "must be a number"),
        ("[server]\nworkers = 0\n", 2, "server.workers must be between 1 and 64"),
        ("[routing]\nfailover = 1\n", 2, "routing.failover must be true or false"),
        ("[routing]\nfailover = 'yes'\n", 2, "routing.failover must be true or false"),
        ("[routing]\nmax_attempts = 4\n", 2, "routing.max_attempts must be between 1 and 3"),
        ("[log]\nlevel = 'loud'\n", 2, "log.level must be one of debug, info, warning, error"),
        ("[database]\nurl = 'mysql://x'\n", 2, "database.url must begin with postgresql://"),
        ("[database]\nurl = '/var/lib/hub.db'\n", 2, "database.url must begin with postgresql://"),
        ("[database]\nurl = 'postgresql://hub:s3cret@db/hub'\n", 2, "holds a password.*TOKENHUB_DATABASE_URL"),
        ("[database]\nurl = 'postgresql://db/hub?password=s3cret'\n", 2, "holds a password.*TOKENHUB_DATABASE_URL"),
        ("\n\nserver.prot = 80\n", 3, "'server.prot' is no option"),
        ("server.port = 'x'\n", 1, "server.port must be a whole number"),
        ("server = 5\n", 1, r"server is no option but a section: write \[server\]"),
        ("# a\nserver = {prot = 80}\n", 2, "'server.prot' is no option"),
        ("[server.port]\na = 1\n", 1, "server.port must be a whole number"),
        ("[[server]]\nport = 80\n", 1, "server is no option but a section"),
        ("[server]\nport = 80\nport = 81\n", 3, "Cannot overwrite a value"),
        ("[server]\nport = \n", 2, "Invalid value"),
        ("[server\nport = 80\n", 1, "Expected ']'"),
        ("[server]\nport 80\n", 2, "Expected '='"),
        ("[server]\nhost = 'open\n", 2, "Expected"),
        ("port = 80\n", 1, "'port' is no option"),
        ('[server]\n"po rt" = 80\n', 2, "'server.po rt' is no option"),
        ("[server]\nmaster_key = 's3cret'\n", 2, "'server.master_key' is no option"),
        ("x = " + "[" * 5000, 1, "nested too deeply"),
        (b"[server]\n# caf\xe9\n", 2, "is not UTF-8"),
        (b"\xff\xfe[\x00", 1, "is not UTF-8"),
    ],
)
def test_t127_a_broken_file_stops_the_start_with_its_line(home: Home, text: str | bytes, line: int, words: str) -> None:
    write(home, text)
    with pytest.raises(SetupError, match=words) as refused:
        settings.load(home, environment={})
    assert str(refused.value).startswith(f"{home.config}:{line}: ")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_t127_a_file_that_others_can_write_stops_the_start(home: Home, mode: int) -> None:
    write(home, "", mode)
    with pytest.raises(SetupError, match=f"others can write it .mode {mode:o}.; run: chmod 600"):
        settings.load(home, environment={})


def test_t127_a_file_that_is_a_folder_stops_the_start(home: Home) -> None:
    home.config.mkdir(mode=0o700)
    with pytest.raises(SetupError, match="cannot be read: Is a directory"):
        settings.load(home, environment={})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TOKENHUB_SERVER_PRT", "80", "'TOKENHUB_SERVER_PRT' is no option; did you mean TOKENHUB_SERVER_PORT?"),
        ("TOKENHUB_SERVER_PORT", "", "must be a whole number"),
        ("TOKENHUB_SERVER_PORT", "1_000", "must be a whole number"),
        ("TOKENHUB_SERVER_PORT", " 80", "must be a whole number"),
        ("TOKENHUB_SERVER_PORT", "٨٠", "must be a whole number"),
        ("TOKENHUB_SERVER_PORT", "tcp://10.0.0.1:80", "must be a whole number"),
        ("TOKENHUB_SERVER_KEEP_ALIVE_S", "1e3", "must be a number"),
        ("TOKENHUB_SERVER_KEEP_ALIVE_S", "NaN", "must be a number"),
        ("TOKENHUB_ROUTING_FAILOVER", "maybe", "must be true or false"),
        ("TOKENHUB_DATABASE_URL", "s3cret", "must begin with postgresql://"),
    ],
)
def test_t127_a_broken_environment_stops_the_start_by_its_name(home: Home, name: str, value: str, words: str) -> None:
    with pytest.raises(SetupError, match=words) as refused:
        settings.load(home, environment={name: value})
    assert name in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_other_variables_of_the_environment_are_not_looked_at(home: Home) -> None:
    others = {
        "TOKENHUB_HOME": "/x",
        "TOKENHUB_MASTER_KEY": "x",
        "TOKENHUB_PORT": "tcp://x",
        "SERVER_PORT": "x",
        "TOKENHUB_SERVICE_HOST": "x",
    }
    assert settings.load(home, environment=others) == Settings()


@pytest.mark.parametrize("flags", [{"server.prot": 1}, {"server.port": "80"}, {"server.port": 70_000}])
def test_t127_a_broken_flag_stops_the_start(home: Home, flags: dict[str, object]) -> None:
    with pytest.raises(SetupError, match=r"server\.p"):
        settings.load(home, flags, environment={})


def test_i7_settings_do_not_show_the_address_of_the_database() -> None:
    assert "s3cret" not in repr(Settings(database_url="postgresql://hub:s3cret@db/hub"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://hub:s3cret@db.example:5432/hub?sslmode=require",
            "postgresql://hub:***@db.example:5432/hub?sslmode=require",
        ),
        ("postgresql://hub@db.example/hub", "postgresql://hub@db.example/hub"),
        ("postgresql:///hub?host=/tmp", "postgresql:///hub?host=/tmp"),
        ("postgresql:///hub?password=s3cret&host=/tmp", "postgresql:///hub?password=***&host=/tmp"),
        ("postgresql:///hub?sslkey=a.key&sslpassword=s3cret", "postgresql:///hub?sslkey=a.key&sslpassword=***"),
        ("postgresql:///hub?pass%77ord=s3cret&passfile=a", "postgresql:///hub?pass%77ord=***&passfile=a"),
        ("", ""),
    ],
)
def test_i7_a_shown_address_has_no_password(url: str, shown: str) -> None:
    assert settings.without_password(url) == shown
