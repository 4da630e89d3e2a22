"""Every option once: its key, default, help, type and bounds. A file, then the environment, then flags.

The key ``server.port`` is the field ``server_port``, stands in ``config.toml`` as ``port`` under
``[server]``, in the environment as ``TOKENHUB_SERVER_PORT``, and is a flag where a command offers
one. What is unknown or of a wrong type stops the start, with file and line (T127). No option
holds a secret, but ``database.url`` may name a password in the environment.
"""

import os
import re
import shlex
import tomllib
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tokenhub.errors import SetupError
from tokenhub.paths import Home

MIB = 2**20
PREFIX = "TOKENHUB_"
_SECRET_PARAMETER = re.compile("password|secret|scram_")
"""password, sslpassword, oauth_client_secret, scram_client_key, scram_server_key (postgresql.org/docs/current/libpq-connect.html)."""


def _option(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    return field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one hub, checked. Sizes are bytes and times seconds, as their names say."""

    server_host: str = _option("127.0.0.1", "Address to listen on; 0.0.0.0 for every interface")
    server_port: int = _option(8080, "Port to listen on; 0 picks a free one", low=0, high=65535)
    server_public_url: str = _option("", "Where others reach the gateway, such as https://hub.example.com")
    server_workers: int = _option(1, "Processes that serve requests", low=1, high=64)
    server_max_body_bytes: int = _option(32 * MIB, "Largest request body", low=1024, high=1024 * MIB)
    server_header_timeout_s: float = _option(
        30.0, "Time for a client to send its request line and headers", low=1, high=300
    )
    server_body_timeout_s: float = _option(60.0, "Time for a client to send its body", low=1, high=3600)
    server_write_timeout_s: float = _option(60.0, "Time a client may leave its answer unread", low=1, high=3600)
    server_keep_alive_s: float = _option(15.0, "Silence after which a stream gets a comment", low=0.05, high=300)
    server_shutdown_s: float = _option(30.0, "Time that running requests get at shutdown", low=0, high=3600)
    server_watchdog_s: float = _option(
        60.0, "Time after which a process that does nothing any more ends itself; 0: never", low=0, high=3600
    )
    server_max_connections: int = _option(4096, "Open client connections of one process", low=1, high=1_000_000)
    server_drains: int = _option(
        64, "Streams of one process that are read to their end after the client left", low=0, high=100_000
    )
    server_drain_s: float = _option(30.0, "Longest time that such a stream is read on", low=0, high=3600)
    server_drain_bytes: int = _option(8 * MIB, "Most bytes that such a stream is read on", low=0, high=1024 * MIB)

    database_url: str = field(
        default="",
        repr=False,
        metadata={
            "help": "postgresql://… address; empty: SQLite in the home",
            "low": None,
            "high": None,
            "choices": (),
        },
    )
    database_lease_s: float = _option(
        15.0, "Time after which a silent process's holds are given back", low=1, high=3600
    )

    upstream_connect_s: float = _option(5.0, "Time to connect to a provider", low=0.1, high=300)
    upstream_first_byte_s: float = _option(120.0, "Time to a stream's first byte", low=0.1, high=3600)
    upstream_whole_reply_s: float = _option(
        600.0, "Time to the first byte of a reply that is not streamed", low=0.1, high=3600
    )
    upstream_idle_s: float = _option(90.0, "Longest silence inside a stream", low=0.1, high=3600)
    upstream_total_s: float = _option(1800.0, "Longest duration of one attempt", low=0.1, high=86400)
    upstream_max_reply_bytes: int = _option(64 * MIB, "Largest reply of a provider", low=1024, high=4096 * MIB)
    upstream_retry_budget: float = _option(
        0.2,
        "Second and third attempts at deployments where more than 1 in 20 failed within a minute, as a share of active requests",
        low=0,
        high=10,
    )

    jobs_poll_s: float = _option(10.0, "Time between two looks at a video that is being made", low=0.05, high=600)
    jobs_expire_s: float = _option(
        86_400.0, "Time after which a video that is not complete is given up, and not charged", low=1, high=172_800
    )

    routing_max_attempts: int = _option(3, "Deployments tried for one request", low=1, high=3)
    routing_failover: bool = _option(True, "Try another deployment when one fails before content")
    routing_probe_s: float = _option(
        0.0, "Silence after which a credential's provider is asked for its models; 0: never", low=0, high=86400
    )

    local_enabled: bool = _option(True, "Run the embedded model, where the extra [local] is installed")
    local_threads: int = _option(2, "Threads of the embedded model", low=1, high=256)
    local_slots: int = _option(4, "Requests that the embedded model answers at once", low=1, high=256)

    stripe_api_base: str = _option("", "Address of Stripe's API; empty: Stripe's own")
    stripe_cny_rate: float = _option(7.1, "CNY that one USD of credit costs", low=0.01, high=1000)

    topup_min_usd: float = _option(0.5, "Smallest top-up, in USD", low=0.5, high=999_999.99)
    topup_max_usd: float = _option(999_999.99, "Largest top-up, in USD", low=0.5, high=999_999.99)

    smtp_host: str = _option("", "Mail server for notices; empty: no mail")
    smtp_port: int = _option(587, "Port of the mail server", low=1, high=65535)
    smtp_security: str = _option("starttls", "How the mail server is reached", choices=("starttls", "tls", "none"))
    smtp_user: str = _option("", "Name to sign in with; the password is the secret smtp.password")
    smtp_from: str = _option("", "Sender of notices")

    notices_email: str = _option("", "Where the operator gets notices by mail")
    notices_webhook_url: str = _option("", "Where notices are posted as JSON")

    retention_days: int = _option(7, "Days that request metadata is kept", low=1, high=7)

    log_level: str = _option("info", "Least severity that is logged", choices=("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class Option:
    """One option as documentation and commands show it."""

    key: str
    name: str
    """The field in :class:`Settings`."""
    environment: str
    type: type
    default: Any
    help: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]

    @property
    def type_name(self) -> str:
        return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[self.type]

    def check(self, value: object) -> Any:
        """Return the value as this option's type; raises ValueError saying what is wrong with it."""
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type:
            raise ValueError(f"must be {self.type_name}")
        if isinstance(value, str):
            self._check_text(value)
        elif not isinstance(value, bool):
            self._check_range(value)  # type: ignore[arg-type]
        return value

    def parse(self, text: str) -> Any:
        """Return the value that a text from the environment or a command line means; raises ValueError."""
        if self.type is bool and text.lower() in ("true", "false", "1", "0"):
            return text.lower() in ("true", "1")
        if self.type is int and re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
            return self.check(int(text))
        if self.type is float and re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", text, re.ASCII):
            return self.check(float(text))
        return self.check(text)

    def _check_text(self, value: str) -> None:
        if self.choices and value not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}")
        if any(ord(character) < 32 for character in value):
            raise ValueError("must be one line of text")
        if self.key == "database.url" and value and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://, or be empty for SQLite")

    def _check_range(self, value: float) -> None:
        too_low = self.low is not None and not value >= self.low
        too_high = self.high is not None and not value <= self.high
        if too_low or too_high:
            raise ValueError(f"must be between {self.low} and {self.high}")


def _option_of(entry: "Field[Any]") -> Option:
    section, _, rest = entry.name.partition("_")
    environment = PREFIX + entry.name.upper()
    return Option(f"{section}.{rest}", entry.name, environment, type(entry.default), entry.default, **entry.metadata)


OPTIONS: tuple[Option, ...] = tuple(_option_of(entry) for entry in fields(Settings))
BY_KEY: Mapping[str, Option] = {option.key: option for option in OPTIONS}
SECTIONS = tuple(dict.fromkeys(option.key.partition(".")[0] for option in OPTIONS))


def load(
    home: Home, flags: Mapping[str, object] | None = None, *, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings of a home: defaults < ``config.toml`` < environment < flags.

    ``flags`` maps keys such as ``server.port`` to values; None stands for a flag not given.
    """
    values = from_file(home.config) | _from_environment(environment) | _from_flags(flags or {})
    if values.get("database_url", "").startswith("postgres://"):
        values["database_url"] = "postgresql" + values["database_url"].removeprefix("postgres")
    return Settings(**values)


def from_file(path: Path) -> dict[str, Any]:
    """Return the fields that a ``config.toml`` sets; no file, no fields."""
    try:
        status, data = path.stat(), path.read_bytes()
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        raise SetupError(
            f"{path.parent} is no folder, so no home. Name another: --home DIR, or TOKENHUB_HOME"
        ) from None
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}") from None
    if status.st_mode & 0o022:
        raise SetupError(
            f"{path}: others can write it (mode {status.st_mode & 0o777:o}); run: chmod 600 {shlex.quote(str(path))}"
        )
    try:
        return from_text(data.removeprefix(BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SetupError(f"{path}:{line}: is not UTF-8") from None
    except InvalidSetting as error:
        raise SetupError(f"{path}:{error.line}: {error}") from None


class InvalidSetting(ValueError):
    """A line of ``config.toml`` that cannot be; the message never quotes a value."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def from_text(text: str) -> dict[str, Any]:
    """Return the fields that the text of a ``config.toml`` sets; raises InvalidSetting."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).partition(" (at ")
        found = re.match(r"line ([0-9]+)", place)
        raise InvalidSetting(message, int(found[1]) if found else len(text.splitlines())) from None
    except RecursionError:
        raise InvalidSetting("is nested too deeply", 1) from None
    values = {}
    for section, entries in document.items():
        if section not in SECTIONS:
            raise InvalidSetting(unknown(section, SECTIONS), line_of(text, section))
        if not isinstance(entries, dict):
            raise InvalidSetting(
                f"{section} is no option but a section: write [{section}], and its options below",
                line_of(text, section),
            )
        for name, value in entries.items():
            option = _checked(text, f"{section}.{name}", value)
            values[option.name] = value if option.type is not float else float(value)
    return values


def _checked(text: str, key: str, value: object) -> Option:
    option = BY_KEY.get(key)
    if option is None:
        raise InvalidSetting(unknown(key, tuple(BY_KEY)), line_of(text, key))
    try:
        option.check(value)
        if key == "database.url" and without_password(str(value)) != value:
            raise ValueError(
                f"holds a password, which does not belong in this file: set {option.environment} instead, or keep it in a file of its own and name that: ?passfile=PATH"
            )
    except ValueError as error:
        raise InvalidSetting(f"{key} {error}", line_of(text, key)) from None
    return option


def line_of(text: str, key: str) -> int:
    """Return the number of the line that sets a key, or opens a section; 1 if it cannot be told."""
    section = key.partition(".")[0]
    here, opened = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*[\"']?([^\]\"'.]+)", line):
            here = header[1].strip()
            opened = number if here == section else opened
        elif assigned := re.match(r"\s*([^=#]+?)\s*=", line):
            parts = [here] * bool(here) + [part.strip(" \t\"'") for part in assigned[1].split(".")]
            if ".".join(parts) in (key, section):
                return number
    return opened


def called_at(host: str) -> str:
    """Return the host at which this machine calls a gateway that listens on one: an address that means every one cannot be called."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what is listened on, not bound here


def without_password(url: str) -> str:
    """Return a database address as it may be shown: passwords are three stars."""
    shown = re.sub(r"(?<=//)([^:/?#@]*):.*@", r"\1:***@", url, count=1)
    return re.sub(r"(?<=[?&])([^=&]+)=[^&]+", _starred, shown)


def _starred(parameter: re.Match[str]) -> str:
    """Return a parameter of libpq's without the secret that it holds, if it is one of those: its name may be in percent form."""
    is_secret = _SECRET_PARAMETER.search(unquote(parameter[1]))
    return f"{parameter[1]}=***" if is_secret else parameter[0]


def unknown(key: str, names: tuple[str, ...]) -> str:
    """Return what is said of a name that no option, or no section, has: the nearest that is one."""
    from difflib import get_close_matches

    close = get_close_matches(key, names, 1)
    return f"{key[:60]!r} is no option" + (
        f"; did you mean {close[0]}?" if close else "; tokenhub config list names them all"
    )


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    options = {option.environment: option for option in OPTIONS}
    sections = tuple(f"{PREFIX}{section.upper()}_" for section in SECTIONS)
    values = {}
    for name in sorted(environment):
        if not name.startswith(sections):
            continue
        if name not in options:
            raise SetupError(f"the environment variable {unknown(name, tuple(options))}")
        try:
            values[options[name].name] = options[name].parse(environment[name])
        except ValueError as error:
            raise SetupError(f"the environment variable {name} {error}") from None
    return values


def _from_flags(flags: Mapping[str, object]) -> dict[str, Any]:
    values = {}
    for key, value in flags.items():
        if value is None:
            continue
        if key not in BY_KEY:
            raise SetupError(unknown(key, tuple(BY_KEY)))
        try:
            values[BY_KEY[key].name] = BY_KEY[key].check(value)
        except ValueError as error:
            raise SetupError(f"{key} {error}") from None
    return values
