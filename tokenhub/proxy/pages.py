"""The few pages that a person's browser sees on the way to a payment and back. Nothing on them comes from elsewhere."""

from html import escape
from typing import Final

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.operations.payments import links
from tokenhub.proxy.downstream import Downstream, Sent
from tokenhub.proxy.runtime import Runtime

SHORT_PREFIX: Final = "/t/"

_HTML: Final = "text/html; charset=utf-8"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_OVER: Final = {
    "new": "The payment page is not there yet. Try again in a few seconds.",
    "paid": "This has been paid. Thank you.",
    "processing": "The payment is under way. The credit is booked when it has arrived.",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 20vh auto 0; padding: 0 1.5rem; color: #1c1c1e; background: #fff }}
h1 {{ font-size: 1.5rem }}
@media (prefers-color-scheme: dark) {{ body {{ color: #eee; background: #1c1c1e }} }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
</main>
</body>
</html>
"""


async def done(downstream: Downstream, _request: BaseRequest, _runtime: Runtime) -> Sent:
    """``GET /topup/done``: where Stripe sends a person who has paid. It is no proof of anything and changes nothing."""
    text = (
        "Your credit is booked as soon as Stripe confirms the payment, usually within seconds. You can close this page."
    )
    return _shown(downstream, 200, "Thank you", text)


async def cancelled(downstream: Downstream, _request: BaseRequest, _runtime: Runtime) -> Sent:
    """``GET /topup/cancelled``: where Stripe sends a person who went back."""
    text = "Nothing was paid. The link stays open for a while, if you change your mind. You can close this page."
    return _shown(downstream, 200, "Not paid", text)


async def short(downstream: Downstream, request: BaseRequest, runtime: Runtime) -> Sent:
    """``GET /t/{token}``: on to the payment page of a top-up that is open."""
    token = request.raw_path.partition("?")[0][len(SHORT_PREFIX) :]
    found = await runtime.read(lambda _database: links.payment_page(runtime.hub, token, clock.now_ms()))
    if found is None:
        return _shown(downstream, 404, "No such link", "This link leads nowhere. Ask for a new one.")
    if found.url is None:
        text = _OVER.get(found.state, "This link can no longer be paid. Ask for a new one.")
        return _shown(downstream, 410, "Nothing to pay here", text)
    downstream.headers["Location"] = found.url
    return _shown(downstream, 303, "To the payment", "Your browser should go on to Stripe by itself.")


def _shown(downstream: Downstream, status: int, title: str, text: str) -> Sent:
    downstream.headers.update(_HEADERS)
    return downstream.send(status, _PAGE.format(title=escape(title), text=escape(text)).encode(), _HTML)
