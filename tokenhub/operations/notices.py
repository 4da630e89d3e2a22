"""Notices: told into an outbox with the change they tell of, sent by the gateway until somebody takes them.

``tell`` writes rows and calls nobody, so that a change and its notice are one transaction.
``work`` sends what is due, at least once: one that was sent while the process died is sent
again, under the same id.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, Final

import orjson

from tokenhub import clock
from tokenhub.billing import notices
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.periods import DAY_MS
from tokenhub.errors import HubError
from tokenhub.money import exact
from tokenhub.observability import log
from tokenhub.operations import mail, posting, secrets
from tokenhub.operations.delivery import Away, Message, Refused, Unsendable
from tokenhub.operations.findings import Finding, Health
from tokenhub.operations.hub import Hub
from tokenhub.store import notices as store
from tokenhub.store import subscriptions
from tokenhub.store.notices import Channel, Notice

BATCH: Final = 100
TROUBLES_DAYS: Final = 7
LONGEST_RUN_S: Final = 30.0
"""After so long a run leaves the rest to the next, so that slow receivers hold up nothing else for long."""

Send = Callable[[Message], None]
_OPENERS: Final[Mapping[Channel, Callable[[Hub], AbstractContextManager[Send]]]] = {
    "email": mail.session,
    "webhook": posting.session,
}


def tell(hub: Hub, kind: NoticeKind, ref: str, account_id: int, body: Mapping[str, Any]) -> int:
    """Queue a notice for everybody who is to be told; return for how many. The same kind and ref is told once.

    Joins the caller's write if there is one; never waits for a network. Amounts in ``body``
    are exact texts (``money.exact``); ``billing/notices.py`` says which facts a kind has.
    """
    with hub.database.write():
        name, email = store.addressee(hub.database, account_id)
        return _queue(hub, kind, ref, account_id, {"account": name, **body}, email)


def tell_operators(hub: Hub, kind: NoticeKind, ref: str, body: Mapping[str, Any]) -> int:
    """Queue a notice that is about no account, as :func:`tell` does."""
    with hub.database.write():
        return _queue(hub, kind, ref, None, body, None)


def _queue(
    hub: Hub, kind: NoticeKind, ref: str, account_id: int | None, body: Mapping[str, Any], email: str | None
) -> int:
    text, now_ms = json.dumps(body, ensure_ascii=True), clock.now_ms()
    return sum(
        store.insert(hub.database, kind.value, ref, channel, target, account_id, text, now_ms)
        for channel, target in receivers(hub, kind, email)
    )


def receivers(hub: Hub, kind: NoticeKind, email: str | None = None) -> list[tuple[Channel, str]]:
    """Return who is told of a kind, each once: the account's address, those that the settings name, subscribers."""
    settings = hub.settings
    event = notices.event_of(kind)
    subscribed = [one for one in subscriptions.listing(hub.database) if not one.events or event in one.events]
    mails = [settings.notices_email, "" if kind in notices.FOR_OPERATORS_ALONE else email or ""]
    mails += [one.target for one in subscribed if one.channel == "email"]
    posts = [settings.notices_webhook_url, *(one.target for one in subscribed if one.channel == "webhook")]
    found: list[tuple[Channel, str]] = [("webhook", one) for one in dict.fromkeys(posts) if one]
    if settings.smtp_host:
        found += [("email", one) for one in dict.fromkeys(mails) if one]
    return found


def is_due(hub: Hub, now_ms: int) -> bool:
    """Tell whether there is anything to send, or a balance that has fallen or risen; a look that writes nothing."""
    return bool(store.due(hub.database, now_ms, 1) or store.fallen(hub.database, 1) or store.has_risen(hub.database))


def watch_balances(hub: Hub, now_ms: int) -> int:
    """Tell of accounts whose balance has fallen below their threshold, once for each fall; return how many."""
    store.rearm(hub.database)
    return sum(_tell_of_fall(hub, one, now_ms) for one in store.fallen(hub.database, BATCH))


def _tell_of_fall(hub: Hub, fallen: store.FallenAccount, now_ms: int) -> bool:
    with hub.database.write():
        if not store.mark_fallen(hub.database, fallen.id, now_ms):
            return False
        facts = {"balance": exact(fallen.posted_nano), "threshold": exact(fallen.threshold_nano)}
        tell(hub, NoticeKind.LOW_BALANCE, f"{fallen.id}-{now_ms}", fallen.id, facts)
    return True


def work(hub: Hub, now_ms: int) -> None:
    """Send what is due. A receiver that is away holds up its own notices alone."""
    until_s = clock.monotonic_s() + LONGEST_RUN_S
    found = sorted(store.due(hub.database, now_ms, BATCH), key=lambda one: (_way(one), one.id))
    for (channel, _), batch in groupby(found, _way):
        _deliver(hub, channel, list(batch), until_s)


def _way(notice: Notice) -> tuple[Channel, str]:
    """What notices share that one failure holds up: the mail server, or the address they are posted to."""
    return notice.channel, notice.target if notice.channel == "webhook" else ""


def _deliver(hub: Hub, channel: Channel, batch: Sequence[Notice], until_s: float) -> None:
    left = list(batch)
    try:
        with _OPENERS[channel](hub) as send:
            while left and clock.monotonic_s() < until_s:
                _deliver_one(hub, send, left[0])
                left.pop(0)
    except (Away, HubError) as error:
        reason = str(error)
        log.event("notices_not_sent", level="warning", channel=channel, notices=len(left))
        for one in left:
            _postpone(hub, one, reason)


def _deliver_one(hub: Hub, send: Send, notice: Notice) -> None:
    try:
        send(message_of(hub.instance, notice))
    except Refused as error:
        _postpone(hub, notice, str(error))
    except Unsendable as error:
        log.event("notice_given_up", level="warning", notice=notice.id)
        store.give_up(hub.database, [notice.id], str(error))
    else:
        store.sent(hub.database, notice.id)


def _postpone(hub: Hub, notice: Notice, reason: str) -> None:
    now_ms = clock.now_ms()
    next_ms = now_ms + notices.pause_ms(notice.tries + 1)
    if next_ms - notice.created_at_ms > notices.GIVEN_UP_AFTER_MS:
        log.event("notice_given_up", level="warning", notice=notice.id)
        store.give_up(hub.database, [notice.id], reason)
    else:
        store.postpone(hub.database, [notice.id], reason, next_ms)


def send_now(hub: Hub, channel: Channel, target: str, kind: NoticeKind) -> str:
    """Send one notice past the outbox, to see whether it gets there; return why it did not, or nothing."""
    now_ms = clock.now_ms()
    notice = Notice(0, kind.value, f"{kind.value}-{now_ms}", channel, target, None, "{}", 0, now_ms)
    try:
        with _OPENERS[channel](hub) as send:
            send(message_of(hub.instance, notice))
    except (Away, Refused, Unsendable) as error:
        return str(error)
    return ""


def message_of(instance: str, notice: Notice) -> Message:
    """Return a notice as it is sent: words for a mail, JSON for a post."""
    facts = json.loads(notice.body)
    account = str(facts.pop("account", ""))
    found = notices.words(notice.kind, account, facts)
    payload = {
        "object": "notice",
        "id": f"notice_{notice.id}",
        "kind": notice.kind,
        "ref": notice.ref,
        "created_at": clock.iso(notice.created_at_ms),
        "instance": instance,
        "account": {"id": notice.account_id, "name": account},
        "data": facts,
        "subject": found.subject,
        "text": found.text,
    }
    return Message(
        f"notice_{notice.id}.{instance}", notice.target, found.subject, found.text, orjson.dumps(payload),
        notice.created_at_ms,
    )  # fmt: skip


def examine(hub: Hub) -> Iterator[Finding]:
    """Tell whether notices get out: how they are told, and which were not taken in the last days."""
    settings = hub.settings
    channels = {one.channel for one in subscriptions.listing(hub.database)}
    ways = [f"mail through {settings.smtp_host}"] if settings.smtp_host else []
    posts = settings.notices_webhook_url or "webhook" in channels
    ways += ["a webhook"] if posts else []
    if not settings.smtp_host and (settings.notices_email or "email" in channels):
        yield Finding(
            "notices", Health.WARNING, "Somebody is to be told by mail, and none goes out: smtp.host is not set.",
            "tokenhub config set smtp.host mail.example.com",
        )  # fmt: skip
    elif not ways:
        yield Finding("notices", Health.OK, "They are not sent: neither smtp.host nor notices.webhook_url is set.")
    if not ways:
        return
    if posts and not secrets.get(hub, secrets.NOTICES_SECRET):
        yield Finding(
            "notices", Health.WARNING, "They are posted unsigned, so their receiver cannot tell them from forged ones.",
            f"tokenhub config set {secrets.NOTICES_SECRET}",
        )  # fmt: skip
    found = store.troubles(hub.database, clock.now_ms() - TROUBLES_DAYS * DAY_MS)
    if found.failed or found.waiting:
        yield Finding(
            "notices", Health.WARNING,
            f"{found.waiting} wait to be sent again and {found.failed} were given up in the last {TROUBLES_DAYS} days: {found.reason}.",
            "Mend smtp.* or notices.*: tokenhub config list",
        )  # fmt: skip
    else:
        yield Finding("notices", Health.OK, f"They go out by {' and '.join(ways)}.")
