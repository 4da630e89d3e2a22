"""What a service manager such as systemd hands over and is told.

A socket that systemd holds outlives the gateway: who connects while one stops and the next
starts waits in its queue instead of being refused (systemd.socket(5), sd_listen_fds(3)).
"""

import contextlib
import os
import socket
from typing import Final

from tokenhub.errors import SetupError

_FIRST: Final = 3
"""The descriptor of the first socket handed over (SD_LISTEN_FDS_START)."""


def listener() -> socket.socket | None:
    """Return the socket that was handed over to this process, once; None when there is none."""
    number, process, _ = (os.environ.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"))
    if process != str(os.getpid()):
        return None
    if number != "1":
        raise SetupError(
            f"The service manager hands over {number or 'no'} sockets where the gateway serves on one: "
            "name one port in the .socket unit."
        )
    try:
        os.set_inheritable(_FIRST, False)
        found = socket.socket(fileno=_FIRST)
        is_right = found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM
        is_right = is_right and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError:
        is_right = False
    if not is_right:
        raise SetupError(
            "What the service manager hands over is no socket that listens for TCP connections: "
            "write ListenStream= with an address and a port, and no Accept=yes."
        )
    found.setblocking(False)
    return found


def tell(state: str) -> None:
    """Tell the service manager a state, such as ``READY=1``, if it wants to know any (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
