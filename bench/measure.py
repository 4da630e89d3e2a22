"""CPU time and memory of a process tree, read from /proc (Linux)."""

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds of a process tree so far, counted in two ways that err differently."""

    by_ticks_s: float
    """utime + stime: in steps of 10 ms, but threads and children that have ended stay in it."""
    by_scheduler_s: float
    """Nanoseconds from the scheduler, but only of threads that live; 0 where the kernel keeps none."""

    def since(self, earlier: "Cpu") -> float:
        """Return the seconds spent since then: the scheduler's, unless the ticks contradict it."""
        ticks_s = self.by_ticks_s - earlier.by_ticks_s
        scheduler_s = self.by_scheduler_s - earlier.by_scheduler_s
        return scheduler_s if abs(scheduler_s - ticks_s) < max(0.05, 0.03 * ticks_s) else ticks_s


def _stat(pid: int) -> list[str]:
    text = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    return text[text.rindex(")") + 2 :].split()


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except OSError:
                continue
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu(pid: int) -> Cpu:
    """Return what a process tree has spent so far."""
    ticks = nanoseconds = 0
    for one in tree(pid):
        try:
            ticks += sum(int(field) for field in _stat(one)[11:15])
            for task in (PROC / str(one) / "task").iterdir():
                nanoseconds += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            continue
    return Cpu(ticks * _TICK_S, nanoseconds / 1e9)


def resident_mb(pid: int) -> float:
    """Return the memory of a process tree in MB, pages shared with others counted by their share."""
    total_kib = 0
    for one in tree(pid):
        try:
            lines = (PROC / str(one) / "smaps_rollup").read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kib * 1024 / 1e6
