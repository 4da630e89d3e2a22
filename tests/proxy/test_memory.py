"""What large bodies took is given back to the system, also where something small lies behind it in the heap."""

import subprocess
import sys

PROGRAM = """
from pathlib import Path
from tokenhub.proxy import memory

def resident_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024

blocks = [bytes(100 * 1024) for _ in range(1000)]
small = blocks[::50]
del blocks
before = resident_mib()
memory.give_back()
print(before - resident_mib())
"""


def test_freed_memory_is_given_back() -> None:
    given_mib = int(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout)
    assert given_mib > 50
