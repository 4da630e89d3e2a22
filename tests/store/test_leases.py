"""Leases: the dead are found, the living never are; T21, T99 and the fence."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import leases
from tokenhub.store.database import Database, StoreBusy, open_database
from tokenhub.store.leases import Lease, Reaper

LEASE_S = 12
LEASE_MS = 12_000
START = 1_900_000_000_000


@dataclass
class Clock:
    """Wall and boot time that only a test moves."""

    wall: int = START
    boot: int = 5_000_000

    def pass_ms(self, ms: int) -> None:
        self.wall += ms
        self.boot += ms

    def boot_ms(self) -> int:
        return self.boot


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(database: Database, home: Home) -> Iterator[Lease]:
    taken = leases.acquire(database, home, LEASE_S, START)
    yield taken
    with suppress(OSError):
        os.close(taken.lock)


@pytest.fixture
def remote(database: Database) -> int:
    """The lease of a process on another machine: no lock file tells of it."""
    with database.write():
        ((number,),) = database.execute(
            "INSERT INTO leases (host, boot_id, pid, started_at, renewed_at) VALUES ('elsewhere', 'b', 1, ?, ?) RETURNING id",
            (START, START),
        ).fetchall()
    return int(number)


def renew(database: Database, number: int, clock: Clock) -> None:
    with database.write():
        database.execute(
            "UPDATE leases SET epoch = epoch + 1, renewed_at = ? WHERE id = ? AND state = 'live'", (clock.wall, number)
        )


def state(database: Database, number: int) -> str:
    row = database.row("SELECT state FROM leases WHERE id = ?", (number,))
    return row[0] if row else "gone"


def watcher(home: Home, clock: Clock) -> Reaper:
    return Reaper(home, LEASE_S, boot_ms=clock.boot_ms)


def watch(reaper: Reaper, database: Database, clock: Clock, seconds: int, every_s: int = 3) -> set[int]:
    """Reap every few seconds for a while; return the leases that were ended."""
    ended: set[int] = set()
    for _ in range(seconds // every_s):
        clock.pass_ms(every_s * 1000)
        before = {number for (number,) in database.rows("SELECT id FROM leases WHERE state = 'live'")}
        reaper.reap(database, clock.wall)
        after = {number for (number,) in database.rows("SELECT id FROM leases WHERE state = 'live'")}
        ended |= before - after
    return ended


def test_a_lease_is_renewed_only_when_a_quarter_of_it_has_passed(database: Database, lease: Lease) -> None:
    seen = []
    for passed in (0, 1_000, 2_999, 3_000, 5_999, 6_000):
        with database.write():
            assert leases.check_and_renew(database, lease, START + passed)
        seen.append(database.row("SELECT epoch, renewed_at - ? FROM leases", (START,)))
    assert seen == [(1, 0), (1, 0), (1, 0), (2, 3_000), (2, 3_000), (3, 6_000)]


def test_t99_a_lease_is_renewed_when_the_clock_was_set_back(database: Database, lease: Lease) -> None:
    with database.write():
        assert leases.check_and_renew(database, lease, START - 3_600_000)
    assert database.row("SELECT epoch, renewed_at FROM leases") == (2, START - 3_600_000)


def test_a_lease_whose_file_cannot_be_locked_is_not_taken(database: Database, home: Home) -> None:
    (home.run / "lease-1.lock").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        leases.acquire(database, home, LEASE_S, START)
    assert database.rows("SELECT 1 FROM leases") == []


def test_an_ended_lease_is_fenced_for_ever(database: Database, lease: Lease) -> None:
    with database.write():
        database.execute("UPDATE leases SET state = 'ended'")
    for passed in (0, LEASE_MS * 10):
        with database.write():
            assert not leases.check_and_renew(database, lease, START + passed)
    with database.write():
        database.execute("DELETE FROM leases")
    with database.write():
        assert not leases.check_and_renew(database, lease, START)


def test_a_lease_whose_number_another_process_has_now_is_lost(database: Database, lease: Lease, home: Home) -> None:
    """A server that took over without the newest commits has lost the row, and gives its number again."""
    with database.write():
        database.execute("DELETE FROM leases")
        database.execute(
            "INSERT INTO leases (id, host, boot_id, pid, started_at, renewed_at) VALUES (?, 'elsewhere', 'b', 1, ?, ?)",
            (lease.id, START, START),
        )
        database.execute(
            "INSERT INTO named_leases (name, lease_id, renewed_at) VALUES ('sweep', ?, ?)", (lease.id, START)
        )
    with database.write():
        assert not leases.check_and_renew(database, lease, START)
    assert not leases.has(database, "sweep", lease)
    leases.end(database, lease)
    assert state(database, lease.id) == "live"
    assert database.rows("SELECT name FROM named_leases") == [("sweep",)]


def test_a_lease_cannot_be_ended_under_a_batch_that_has_checked_it(
    database: Database, lease: Lease, settings: Settings, home: Home
) -> None:
    other = open_database(settings, home)
    with other.write():
        other.execute("PRAGMA busy_timeout = 50" if other.kind == "sqlite" else "SET lock_timeout = '50ms'")
    with database.write():
        assert leases.check_and_renew(database, lease, START)
        with pytest.raises(StoreBusy), other.write():
            other.execute("UPDATE leases SET state = 'ended' WHERE id = ?", (lease.id,))
    other.close()
    assert state(database, lease.id) == "live"


def test_ending_a_lease_ends_its_row_and_its_file(database: Database, lease: Lease, home: Home) -> None:
    assert lease.file.exists()
    leases.end(database, lease)
    assert state(database, lease.id) == "ended"
    assert not lease.file.exists()


def test_t21_a_silent_process_elsewhere_is_reaped_after_a_lease_and_within_two(
    database: Database, remote: int, home: Home, clock: Clock
) -> None:
    reaper = watcher(home, clock)
    reaper.reap(database, clock.wall)
    assert watch(reaper, database, clock, LEASE_S - 3) == set()
    assert watch(reaper, database, clock, LEASE_S) == {remote}


def test_t21_a_process_that_renews_is_never_reaped(database: Database, remote: int, home: Home, clock: Clock) -> None:
    reaper = watcher(home, clock)
    for _ in range(10):
        assert watch(reaper, database, clock, LEASE_S - 3) == set()
        renew(database, remote, clock)


def test_a_reaper_that_just_started_reaps_nobody_however_old_the_rows_are(
    database: Database, remote: int, home: Home, clock: Clock
) -> None:
    clock.pass_ms(100 * LEASE_MS)
    reaper = watcher(home, clock)
    reaper.reap(database, clock.wall)
    assert watch(reaper, database, clock, LEASE_S - 3) == set()
    assert state(database, remote) == "live"


def test_t99_a_reaper_whose_own_contact_stalled_watches_anew(
    database: Database, remote: int, home: Home, clock: Clock
) -> None:
    """The database, or this machine, stood still for an hour: nobody could renew."""
    reaper = watcher(home, clock)
    reaper.reap(database, clock.wall)
    clock.pass_ms(3_600_000)
    assert watch(reaper, database, clock, LEASE_S - 3) == set()
    renew(database, remote, clock)
    assert watch(reaper, database, clock, LEASE_S - 3) == set()


def test_t99_a_reaper_that_gets_slow_answers_reaps_nobody(
    database: Database, remote: int, home: Home, clock: Clock
) -> None:
    class Slow(Clock):
        def boot_ms(self) -> int:
            self.pass_ms(2_000)  # each look at the clock, so each read of the table takes two seconds and more
            return self.boot

    slow = Slow()
    reaper = Reaper(home, 6, boot_ms=slow.boot_ms)
    for _ in range(40):
        reaper.reap(database, slow.wall)
    assert state(database, remote) == "live"


def test_t99_a_database_that_failed_in_between_makes_the_reaper_watch_anew(
    database: Database, remote: int, home: Home, clock: Clock
) -> None:
    reaper = watcher(home, clock)
    for _ in range(20):
        watch(reaper, database, clock, 9)
        with database.write():
            database.execute("ALTER TABLE leases RENAME TO away")
        with pytest.raises(Exception, match="leases"):
            reaper.reap(database, clock.wall)
        with database.write():
            database.execute("ALTER TABLE away RENAME TO leases")
    assert state(database, remote) == "live"


@pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000, 8 * 86_400_000])
def test_t99_a_clock_that_was_set_reaps_nobody_who_renews(
    database: Database, remote: int, home: Home, clock: Clock, step_ms: int
) -> None:
    reaper = watcher(home, clock)
    watch(reaper, database, clock, 9)
    clock.wall += step_ms
    assert watch(reaper, database, clock, 9) == set()
    renew(database, remote, clock)
    assert watch(reaper, database, clock, 9) == set()


@pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000])
def test_t99_a_clock_that_was_set_does_not_keep_the_dead_alive(
    database: Database, remote: int, home: Home, clock: Clock, step_ms: int
) -> None:
    clock.wall += step_ms
    reaper = watcher(home, clock)
    reaper.reap(database, clock.wall)
    assert watch(reaper, database, clock, 2 * LEASE_S) == {remote}


def test_a_renewal_between_look_and_end_saves_the_process(
    database: Database, remote: int, home: Home, clock: Clock
) -> None:
    reaper = watcher(home, clock)
    reaper.reap(database, clock.wall)
    watch(reaper, database, clock, LEASE_S - 3)
    clock.pass_ms(3_000)
    (dead,) = reaper.dead(database, clock.wall)
    assert dead.id == remote
    renew(database, remote, clock)
    assert not leases._end_other(database, dead, clock.wall)
    assert state(database, remote) == "live"


HOLDER = """
    import sys, time
    from tokenhub import clock, paths, settings
    from tokenhub.store import leases
    from tokenhub.store.database import open_database
    home = paths.home()
    database = open_database(settings.load(home), home)
    print(leases.acquire(database, home, 12, int(sys.argv[1])).id, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def neighbour(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process on this machine, and its lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(START)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process, int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()


def test_t21_a_killed_neighbour_is_reaped_at_once(
    database: Database, home: Home, clock: Clock, lease: Lease, neighbour: tuple[subprocess.Popen[str], int]
) -> None:
    process, number = neighbour
    reaper = watcher(home, clock)
    reaper.reap(database, clock.wall)
    assert (state(database, number), state(database, lease.id)) == ("live", "live")
    process.kill()
    process.wait()
    reaper.reap(database, clock.wall)
    assert (state(database, number), state(database, lease.id)) == ("ended", "live")
    assert not (home.run / f"lease-{number}.lock").exists()


def test_a_stopped_neighbour_is_reaped_when_its_lease_is_past_and_then_fenced(
    database: Database, home: Home, clock: Clock, neighbour: tuple[subprocess.Popen[str], int]
) -> None:
    process, number = neighbour
    os.kill(process.pid, signal.SIGSTOP)
    reaper = watcher(home, clock)
    reaper.reap(database, clock.wall)
    assert watch(reaper, database, clock, LEASE_S - 3) == set()
    assert watch(reaper, database, clock, LEASE_S) == {number}
    os.kill(process.pid, signal.SIGCONT)


def test_a_free_lock_of_another_lease_with_the_same_number_proves_nothing(
    database: Database, remote: int, home: Home, clock: Clock
) -> None:
    home.run.mkdir(exist_ok=True, parents=True)
    (home.run / f"lease-{remote}.lock").write_text("another-boot 1 1\n")
    watcher(home, clock).reap(database, clock.wall)
    assert state(database, remote) == "live"


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_lock_file_from_another_machine_proves_nothing(
    database: Database, home: Home, clock: Clock, lease: Lease
) -> None:
    """The home lies on a disk that two machines share: a lock seems free that the other holds."""
    os.close(lease.lock)
    elsewhere = Reaper(home, LEASE_S, host="other", boot_ms=clock.boot_ms)
    rebooted = Reaper(home, LEASE_S, boot_id="other", boot_ms=clock.boot_ms)
    for reaper in (elsewhere, rebooted):
        reaper.reap(database, clock.wall)
        assert state(database, lease.id) == "live"
    watcher(home, clock).reap(database, clock.wall)
    assert state(database, lease.id) == "ended"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_after_a_reboot_the_processes_of_before_are_reaped_at_once(
    database: Database, home: Home, clock: Clock, lease: Lease
) -> None:
    os.close(lease.lock)
    Reaper(home, LEASE_S, host="new-container", boot_id="new-boot", boot_ms=clock.boot_ms).reap(database, clock.wall)
    assert state(database, lease.id) == "ended"


def test_holds_that_a_crashed_reaper_left_are_reported_again(
    database: Database, remote: int, home: Home, clock: Clock
) -> None:
    with database.write():
        database.execute("INSERT INTO plans (id, fee_bp, key_rpm, account_rpm, concurrency) VALUES ('p', 1, 1, 1, 1)")
        database.execute("INSERT INTO accounts (name, plan_id, created_at) VALUES ('a', 'p', 0)")
        database.execute(
            "INSERT INTO keys (id, account_id, prefix, digest, created_at) VALUES ('k', 1, '', ?, 0)", (b"d",)
        )
        database.execute(
            "INSERT INTO holds (request_id, account_id, key_id, lease_id, amount, price_version, placed_at) VALUES ('r', 1, 'k', ?, 1, '', 0)",
            (remote,),
        )
    reaper = watcher(home, clock)
    assert reaper.reap(database, clock.wall) == []
    watch(reaper, database, clock, 2 * LEASE_S)
    assert reaper.reap(database, clock.wall) == [remote]
    assert watcher(home, clock).reap(database, clock.wall) == [remote]
    with database.write():
        database.execute("DELETE FROM holds")
    assert reaper.reap(database, clock.wall) == []


def test_rows_of_long_ended_processes_are_forgotten(database: Database, remote: int, home: Home, clock: Clock) -> None:
    with database.write():
        database.execute(
            "INSERT INTO leases (host, boot_id, pid, state, started_at, renewed_at) VALUES ('h', 'b', 1, 'ended', 0, 0)"
        )
    reaper = watcher(home, clock)
    reaper.reap(database, clock.wall)
    watch(reaper, database, clock, 2 * LEASE_S)
    assert database.rows("SELECT id, state FROM leases") == [(remote, "ended")]


def test_one_process_has_a_named_lease_until_it_ends(database: Database, home: Home, lease: Lease) -> None:
    second = leases.acquire(database, home, LEASE_S, START)
    assert leases.try_take(database, "expire", lease, START)
    assert leases.try_take(database, "expire", lease, START)
    assert not leases.try_take(database, "expire", second, START)
    assert leases.try_take(database, "purge", second, START)
    leases.end(database, lease)
    assert leases.try_take(database, "expire", second, START)
    leases.end(database, second)


def test_a_named_lease_passes_on_when_its_holder_has_ended(database: Database, home: Home, lease: Lease) -> None:
    second = leases.acquire(database, home, LEASE_S, START)
    assert leases.try_take(database, "expire", second, START)
    assert not leases.try_take(database, "expire", lease, START + 100 * LEASE_MS)
    leases.end(database, second)
    assert leases.try_take(database, "expire", lease, START)


def test_a_fenced_process_takes_no_named_lease(database: Database, lease: Lease) -> None:
    assert leases.try_take(database, "expire", lease, START)
    with database.write():
        database.execute("UPDATE leases SET state = 'ended'")
    assert not leases.try_take(database, "expire", lease, START)


def test_a_named_lease_that_one_has_is_seen_without_a_write(database: Database, home: Home, lease: Lease) -> None:
    other = leases.acquire(database, home, LEASE_S, START)
    assert not leases.has(database, "sweep", lease)
    assert leases.try_take(database, "sweep", lease, START)
    assert leases.has(database, "sweep", lease)
    assert not leases.has(database, "sweep", other)
    assert not leases.has(database, "purge", lease)
    leases.end(database, lease)
    assert not leases.has(database, "sweep", lease)
    leases.end(database, other)
