"""Short links to top-ups, for QR codes: Stripe's own addresses are too long for a terminal.

A token names its top-up and proves that this installation made it, so that ids cannot be
tried out; nothing is stored for it. It opens nothing but the page where one can pay.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from tokenhub import settings
from tokenhub.billing.topups import TopupState
from tokenhub.operations.hub import Hub
from tokenhub.settings import Settings
from tokenhub.store import topups

_PREFIX: Final = "topup_"
_ID_BYTES: Final = 16
_PROOF_BYTES: Final = 11
"""88 bits, so that a token has 36 characters."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{36}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PaymentPage:
    """Where a link leads now. ``url`` is None when there is nothing to pay any more; ``state`` says why."""

    state: str
    url: str | None


def token(hub: Hub, topup_id: str) -> str:
    """Return the token of a top-up, whose id is as ``ids.new_id`` makes it."""
    name = bytes.fromhex(topup_id.removeprefix(_PREFIX))
    return base64.urlsafe_b64encode(name + _proof(hub, topup_id)).decode()


def find(hub: Hub, text: str) -> str | None:
    """Return the id of the top-up that a token names; None when it is no token of this installation."""
    if _TOKEN.fullmatch(text) is None:
        return None
    data = base64.urlsafe_b64decode(text)
    topup_id = f"{_PREFIX}{data[:_ID_BYTES].hex()}"
    return topup_id if hmac.compare_digest(data[_ID_BYTES:], _proof(hub, topup_id)) else None


def short_link(hub: Hub, topup_id: str) -> str | None:
    """Return the short address of a top-up's payment page; None when ``server.public_url`` is not set."""
    public = hub.settings.server_public_url.rstrip("/")
    return f"{public}/t/{token(hub, topup_id)}" if public else None


def return_url(chosen: Settings, page: str) -> str:
    """Return where Stripe sends the person afterwards: ``done`` or ``cancelled``."""
    public = chosen.server_public_url.rstrip("/")
    host = settings.called_at(chosen.server_host)
    here = f"http://{f'[{host}]' if ':' in host else host}:{chosen.server_port}"
    return f"{public or here}/topup/{page}"


def payment_page(hub: Hub, text: str, now_ms: int) -> PaymentPage | None:
    """Return where a token leads; None when it is no token of this installation, or its top-up is not there."""
    topup_id = find(hub, text)
    topup = topups.find(hub.database, topup_id) if topup_id is not None else None
    if topup is None:
        return None
    is_open = topup.state == TopupState.OPEN and now_ms < (topup.session_expires_at_ms or 0)
    return PaymentPage(topup.state, topup.url if is_open else None)


def _proof(hub: Hub, topup_id: str) -> bytes:
    return hmac.new(hub.vault.derive("topup links"), topup_id.encode(), hashlib.sha256).digest()[:_PROOF_BYTES]
