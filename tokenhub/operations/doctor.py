"""Everything that can be wrong with an installation, each check with its remedy.

A check that cannot be made because an earlier one failed (no database: no ledger) is left
out, not failed. Nothing is changed.
"""

import http.client
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator
from typing import Final

from tokenhub import clock, money, settings
from tokenhub.billing.periods import DAY_MS
from tokenhub.errors import HubError
from tokenhub.operations import forms
from tokenhub.operations.findings import Finding as Finding
from tokenhub.operations.findings import Health as Health
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home, loose_modes
from tokenhub.settings import Settings

DISK_LOW_BYTES: Final = 2**30
DISK_FULL_BYTES: Final = 100 * 2**20
WAL_LARGE_BYTES: Final = 64 * 2**20
CLOCK_APART_S: Final = 5
LEDGER_QUICK_ROWS: Final = 200_000
"""More ended requests than this take longer to verify than a check-up should."""
SHORTFALL_DAYS: Final = 7


def examine(home: Home) -> list[Finding]:
    """Check an installation from its folder up to its open port."""
    return list(_examine(home))


def _examine(home: Home) -> Iterator[Finding]:
    if home.path.exists() and not home.path.is_dir():
        yield Finding(
            "home", Health.FAILED, f"{home.path} is no folder.", "Name another: --home DIR, or TOKENHUB_HOME."
        )
        return
    yield from _home(home)
    if home.path.is_dir():
        yield _disk(home)
    try:
        chosen = settings.load(home)
    except HubError as error:
        yield Finding(
            "settings",
            Health.FAILED,
            error.message,
            "Mend config.toml or the environment; tokenhub config list names every option.",
        )
        return
    yield from _settings(home, chosen)
    try:
        hub = Hub.open(home)
    except HubError as error:
        yield Finding("database", Health.FAILED, str(error), _remedy(home, chosen, error))
    else:
        with hub:
            for check in _OF_THE_HUB:
                yield from _guarded(check, hub)
    yield _port(chosen)


def _settings(home: Home, chosen: Settings) -> Iterator[Finding]:
    """Settings that a gateway starts with, but cannot use as they are."""
    wrong = forms.faults(chosen)
    for key, words in wrong.items():
        yield Finding("settings", Health.WARNING, f"{key} {words}.", f"tokenhub config set {key} VALUE")
    if not wrong:
        yield Finding(
            "settings",
            Health.OK,
            f"{home.config} is in order." if home.config.exists() else "All options are at their defaults.",
        )


def _remedy(home: Home, chosen: Settings, error: HubError) -> str:
    """Say what to do where the store cannot be opened."""
    if not error.see_to:
        return "Do as the message says."
    if error.see_to == "master key":
        return "Put your copy of the master key back; if it is lost: tokenhub rekey --lost"
    if chosen.database_url:
        return "See to the server that database.url names, and its user: tokenhub config get database.url"
    return (
        f"See to the files of {home.path}, their owner, mode and disk; or make a home of a backup: tokenhub restore DIR"
    )


def _guarded(check: "Check", hub: Hub) -> Iterator[Finding]:
    """Run a check; one that fails over the store says so and does not stop the others."""
    try:
        yield from check(hub)
    except HubError as error:
        yield Finding(
            check.__name__.strip("_").replace("_", " "),
            Health.FAILED,
            str(error),
            "Mend the cause and run tokenhub doctor again.",
        )


def _home(home: Home) -> Iterator[Finding]:
    if not home.path.is_dir():
        place = shlex.quote(str(home.path))
        yield Finding("home", Health.FAILED, f"There is no home at {home.path}.", f"tokenhub init --home {place}")
        return
    loose = loose_modes(home)
    if not loose:
        yield Finding("home", Health.OK, f"{home.path} is readable by its owner alone.")
    for one in loose:
        message, _, remedy = one.partition("; run: ")
        yield Finding("home", Health.WARNING, f"{message}.", remedy)


def _disk(home: Home) -> Finding:
    free = shutil.disk_usage(home.path).free
    health = Health.FAILED if free < DISK_FULL_BYTES else Health.WARNING if free < DISK_LOW_BYTES else Health.OK
    remedy = (
        ""
        if health is Health.OK
        else f"Free space on the disk of {home.path}: without it no request can be charged, so none is taken."
    )
    return Finding("disk", health, f"{free / 2**30:.1f} GiB are free.", remedy)


def _database(hub: Hub) -> Iterator[Finding]:
    """The open store has verified its own settings, tables and schema version (T86, T91, T100)."""
    from tokenhub.store import migrate

    kind = {"sqlite": f"SQLite, {hub.home.database}", "postgres": "PostgreSQL"}[hub.database.kind]
    version = migrate.applied(hub.database)[-1]
    yield Finding("database", Health.OK, f"{kind}; its settings hold; schema {version}.")
    wal = hub.home.database.with_name(f"{hub.home.database.name}-wal")
    if hub.database.kind == "sqlite" and wal.exists() and wal.stat().st_size > WAL_LARGE_BYTES:
        yield Finding(
            "database", Health.WARNING, f"{wal.name} has {wal.stat().st_size / 2**20:.0f} MiB.",
            "A long-running reader keeps it from shrinking: end open sqlite3 shells and stuck tokenhub commands.",
        )  # fmt: skip


def _master_key(hub: Hub) -> Iterator[Finding]:
    """That the key fits the database has been seen when the hub was opened."""
    from tokenhub.operations import credentials
    from tokenhub.store import catalog

    states = credentials.listing(hub)
    for state in states:
        catalog.credential(hub.database, hub.vault, state.id)
    yield Finding("master key", Health.OK, f"It is the right one; credentials that it opens: {len(states)}.")


def _credentials(hub: Hub) -> Iterator[Finding]:
    from tokenhub.operations import credentials, master_key, models

    states = credentials.listing(hub)
    failed = [state for state in states if state.status == "failed"]
    for state in failed:
        rotate = f"tokenhub credentials rotate {state.id}"
        is_lost = state.status_reason == master_key.NO_SECRET
        yield Finding(
            "credentials", Health.WARNING,
            f"Credential {state.id} for {state.provider} in {state.region} is out of use: {state.status_reason or 'it was refused'}.",
            rotate if is_lost else f"{rotate}, or mend it at the provider and: tokenhub credentials test {state.id}",
        )  # fmt: skip
    active = sum(state.status == "active" for state in states)
    if not active and not models.runs_local_model(hub):
        yield Finding("credentials", Health.WARNING, "No model can be called.", "tokenhub credentials add PROVIDER")
    elif not failed:
        yield Finding(
            "credentials",
            Health.OK,
            f"{active} are active." if active else "None of your own; the embedded model needs none.",
        )


def _catalog(hub: Hub) -> Iterator[Finding]:
    from tokenhub.catalog import plans as names
    from tokenhub.operations import models, plans

    catalog = models.catalog(hub.database)
    yield Finding("catalog", Health.OK, f"{len(catalog.models)} models of {len(catalog.providers)} providers.")
    for plan in plans.listing(hub):
        try:
            names.check(catalog, plan.model_names)
        except HubError as error:
            yield Finding(
                "plans",
                Health.WARNING,
                f"Plan {plan.id}: {error.message}",
                f"tokenhub plans set {plan.id} --model-name …",
            )


def _ledger(hub: Hub) -> Iterator[Finding]:
    """Add the ledger up: every request too, unless there are so many that it would take longer than a check-up should."""
    from tokenhub.operations import ledger

    is_large = ledger.ended_requests(hub) > LEDGER_QUICK_ROWS
    found = ledger.verify_fast(hub) if is_large else ledger.verify(hub)
    if found:
        yield Finding(
            "ledger",
            Health.FAILED,
            f"{len(found)} rows do not add up, the first: {found[0].subject}: {found[0].message}",
            "tokenhub ledger verify",
        )
    elif is_large:
        yield Finding(
            "ledger", Health.OK, "Lots, accounts, keys, holds and top-ups add up; the requests are too many to add up in passing.",
            "Now and then: tokenhub ledger verify",
        )  # fmt: skip
    else:
        yield Finding("ledger", Health.OK, "Every lot, account, key, hold, top-up and request adds up.")


def _shortfalls(hub: Hub) -> Iterator[Finding]:
    from tokenhub.operations import ledger

    found = ledger.shortfalls(hub, clock.now_ms() - SHORTFALL_DAYS * DAY_MS)
    if found.requests:
        yield Finding(
            "shortfalls", Health.WARNING,
            f"{found.requests} requests of the last {SHORTFALL_DAYS} days cost {money.exact(found.total_nano)} USD more than their holds; you paid that.",
            "Compare prices and limits with the provider's: tokenhub requests list, tokenhub models show NAME",
        )  # fmt: skip
    else:
        yield Finding("shortfalls", Health.OK, f"No request of the last {SHORTFALL_DAYS} days cost more than its hold.")


def _jobs(hub: Hub) -> Iterator[Finding]:
    """Videos that are being made: each has a hold, and some gateway must look at it."""
    from tokenhub.operations import jobs

    state = jobs.standing(hub, hub.database.now_ms())
    if state.overdue:
        yield Finding(
            "videos", Health.WARNING,
            f"{state.overdue} of {state.open} videos under way have not been looked at for {jobs.OVERDUE_S // 60} minutes; their holds stay.",
            "Videos are looked at while a gateway runs: tokenhub serve. See: tokenhub videos list --open",
        )  # fmt: skip
    elif state.unanswered:
        yield Finding(
            "videos", Health.WARNING,
            f"{state.unanswered} of {state.open} videos under way get no answer from their provider ({', '.join(state.codes)}).",
            "See tokenhub videos list --open; mend the credential, or give one up: tokenhub videos cancel ID",
        )  # fmt: skip
    else:
        yield Finding("videos", Health.OK, f"{state.open} are being made." if state.open else "None is being made.")


def _gateway(hub: Hub) -> Iterator[Finding]:
    """A gateway that ran and is away; where none ever ran there is nothing to miss."""
    from tokenhub.operations import gateways

    seen = gateways.seen(hub)
    if seen.runs or seen.at_ms is None:
        yield Finding("gateway", Health.OK, "One runs." if seen.runs else f"{seen.words}.")
    else:
        yield Finding("gateway", Health.WARNING, f"{seen.words}.", "Start one: tokenhub serve")


def _payments(hub: Hub) -> Iterator[Finding]:
    from tokenhub.operations.payments import checkup

    for check in checkup.CHECKS:
        yield from check(hub)


def _notices(hub: Hub) -> Iterator[Finding]:
    from tokenhub.operations import notices

    yield from notices.examine(hub)


def _clock(hub: Hub) -> Iterator[Finding]:
    from tokenhub.operations import ledger

    now_ms = clock.now_ms()
    latest_ms = ledger.latest_moment_ms(hub)
    ahead_s = (latest_ms - now_ms) / 1000
    apart_s = (now_ms - hub.database.now_ms()) / 1000
    if abs(apart_s) > CLOCK_APART_S:
        yield Finding(
            "clock", Health.WARNING,
            f"The clock is {abs(apart_s):,.0f} s {'ahead of' if apart_s > 0 else 'behind'} the database server's.",
            "Set both right (NTP), and those of all machines that run TokenHub: expiry and limits depend on it.",
        )  # fmt: skip
    elif ahead_s > CLOCK_APART_S:
        yield Finding(
            "clock", Health.WARNING, f"The clock stands {ahead_s:,.0f} s before the newest row in the database.",
            "Set the clock right (NTP), on every machine that runs TokenHub: expiry and limits depend on it.",
        )  # fmt: skip
    else:
        yield Finding("clock", Health.OK, f"{clock.iso(now_ms)}, and nothing in the database is later.")


Check = Callable[[Hub], Iterator[Finding]]
_OF_THE_HUB: Final[tuple[Check, ...]] = (
    _database,
    _master_key,
    _credentials,
    _catalog,
    _ledger,
    _shortfalls,
    _gateway,
    _jobs,
    _payments,
    _notices,
    _clock,
)


def _port(chosen: Settings) -> Finding:
    """Tell whether the gateway answers, the port is free, or something else has it."""
    host = settings.called_at(chosen.server_host)
    place = f"{host}:{chosen.server_port}"
    if chosen.server_port == 0:
        return Finding("port", Health.OK, "A free one is taken at each start.")
    if not _is_resolved(host):
        return Finding(
            "port", Health.FAILED, f"The host {host!r} cannot be resolved to an address.",
            "tokenhub config set server.host 127.0.0.1, or 0.0.0.0 for every interface",
        )  # fmt: skip
    connection = http.client.HTTPConnection(host, chosen.server_port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answers = answer.status == 200 and b"ok" in answer.read(1000)
    except ConnectionRefusedError:
        return Finding("port", Health.OK, f"{place} is free; no gateway runs there now.")
    except (OSError, http.client.HTTPException):
        answers = False
    finally:
        connection.close()
    if answers:
        return Finding("port", Health.OK, f"A gateway answers on {place}.")
    return Finding(
        "port", Health.FAILED, f"Something that is no gateway has {place}.", "tokenhub config set server.port N"
    )


def _is_resolved(host: str) -> bool:
    """Tell whether a host, or its name, has an address that something could listen on."""
    try:
        forms.host(host)
        socket.getaddrinfo(host, None)
    except (ValueError, OSError):
        return False
    return True
