"""Subscriptions to notices: who is told of what, by mail or as signed JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tokenhub import clock
from tokenhub.billing import notices as kinds
from tokenhub.billing.notices import NoticeKind
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.operations import forms, notices, secrets
from tokenhub.operations.hub import Hub
from tokenhub.store import subscriptions as store
from tokenhub.store.notices import Channel
from tokenhub.store.subscriptions import Subscription as Subscription

CHANNELS: Final[dict[str, Channel]] = {"mail": "email", "webhook": "webhook"}
"""As they are spelled on a command line."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a test; ``reason`` says why it did not arrive, and is empty when it did."""

    number: int | None
    """Of the subscription; None: an address of the settings."""
    channel: Channel
    target: str
    reason: str


def add(hub: Hub, way: str, target: str, events: Sequence[str]) -> Subscription:
    """Subscribe an address to events, all of them if none is named; one that is subscribed gets these instead."""
    channel = CHANNELS.get(way)
    if channel is None:
        raise InvalidRequest(f"{way[:40]!r} is no way to tell somebody; say mail or webhook.", param="channel")
    _check_target(channel, target)
    unknown = [one for one in events if one not in kinds.EVENTS]
    if unknown:
        raise InvalidRequest(f"{unknown[0][:40]!r} is no event. Events: {', '.join(kinds.EVENTS)}", param="events")
    with hub.database.write():
        store.put(hub.database, channel, target, tuple(dict.fromkeys(events)), clock.now_ms())
        return next(one for one in listing(hub) if (one.channel, one.target) == (channel, target))


def _check_target(channel: Channel, target: str) -> None:
    check = forms.mail_address if channel == "email" else forms.url
    try:
        check(target)
    except ValueError as error:
        raise InvalidRequest(f"That address cannot be told: it {error}.", param="target") from None


def missing(hub: Hub, channel: Channel) -> str | None:
    """Say what is still to be set before a channel's notices go out, or go out signed."""
    if channel == "email" and not hub.settings.smtp_host:
        return "No mail goes out yet: tokenhub config set smtp.host mail.example.com"
    if channel == "webhook" and not secrets.get(hub, secrets.NOTICES_SECRET):
        return f"Posts are not signed yet: tokenhub config set {secrets.NOTICES_SECRET}"
    return None


def listing(hub: Hub) -> list[Subscription]:
    """Return every subscription, the oldest first."""
    return store.listing(hub.database)


def remove(hub: Hub, number: int) -> Subscription:
    """Tell this address nothing any more; what waits for it still goes out."""
    with hub.database.write():
        found = _existing(hub, number)
        store.delete(hub.database, number)
        return found


def _existing(hub: Hub, number: int) -> Subscription:
    found = next((one for one in listing(hub) if one.id == number), None)
    if found is None:
        raise NotFound(f"There is no subscription {number}. See: tokenhub notify list")
    return found


def test(hub: Hub, number: int | None) -> list[Sent]:
    """Send a test to one subscription, or to all and to the addresses of the settings, at once and once.

    What the mail server or the receiver says is returned.
    """
    asked: list[tuple[int | None, Channel, str]] = [
        (one.id, one.channel, one.target) for one in (listing(hub) if number is None else [_existing(hub, number)])
    ]
    if number is None:
        known = {target for _, _, target in asked}
        own: tuple[tuple[Channel, str], ...] = (
            ("email", hub.settings.notices_email),
            ("webhook", hub.settings.notices_webhook_url),
        )
        asked += [(None, channel, target) for channel, target in own if target and target not in known]
    return [Sent(*one, notices.send_now(hub, one[1], one[2], NoticeKind.TEST)) for one in asked]
