"""The bytes to and from upstreams: connections, deadlines, caps. The only part of the core that does I/O.

    UpstreamClient ── one ── Origin (scheme, host, port) ── many ── Channel (connection)
          └─ send() ─▶ UpstreamResponse: one exchange on one channel

``httptools`` reads the replies; requests are written and connections kept here, because what
the gateway must know of a connection, no client's pool tells: whether it was used before,
whether a byte has come back, whether anything came while it lay idle. It also costs a
fraction of ``ClientSession.post`` (``docs/decisions/0005``).

Deadlines need no timer of their own: one tick looks at all open exchanges, so they cost an
exchange nothing and end it at most one tick late. No cookies, proxies, redirects or
decompression exist here. Every fault of the upstream is an ``UpstreamFault``.
"""

from tokenhub.providers.client.bounds import Limits, Timeouts
from tokenhub.providers.client.response import UpstreamResponse
from tokenhub.providers.client.upstream import UpstreamClient, call_once

__all__ = ["Limits", "Timeouts", "UpstreamClient", "UpstreamResponse", "call_once"]
