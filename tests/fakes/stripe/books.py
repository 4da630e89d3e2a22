"""What the fake Stripe knows: its objects, its events, its time."""

import copy
import secrets
import threading
from collections.abc import Callable
from typing import Any

from tests.fakes.stripe import objects, spec
from tests.fakes.stripe.objects import Object
from tokenhub import clock

EVENTS_KEPT_S = 30 * 86_400
PREFIXES = {
    "checkout.session": "cs",
    "payment_intent": "pi",
    "charge": "ch",
    "refund": "re",
    "dispute": "du",
    "customer": "cus",
    "payment_method": "pm",
    "balance_transaction": "txn",
    "event": "evt",
    "item": "li",
    "webhook_endpoint": "we",
}


class Refusal(Exception):
    """Stripe says no: an HTTP status and an error object."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"type": kind, "message": message, **{key: value for key, value in fields.items() if value}}


class Books:
    """Objects by id, in the order in which they were made; every change is made under ``lock``."""

    def __init__(self, *, livemode: bool = False) -> None:
        self.livemode = livemode
        self.lock = threading.RLock()
        self.objects: dict[str, Object] = {}
        self.api_version = spec.API_VERSION
        """What events are rendered as."""
        self.hides_events = False
        """Whether ``/v1/events`` lists nothing: what is noticed then was looked for."""
        self.listeners: list[Callable[[Object], None]] = []
        """Told of each event, under the lock."""
        self.broken: list[str] = []
        """What did not fit Stripe's description: of our own objects, or of the requests we got."""
        self._clock_ms: int | None = None
        self._lines: dict[str, list[Object]] = {}
        self._params: dict[str, Object] = {}
        """What a session was made with, where its object does not show it."""
        self._key: str | None = None
        """Of the request that is being carried out: events name it."""

    @property
    def clock_ms(self) -> int:
        """The time here: the hub's own (``tokenhub.clock``, in this process) until it is set."""
        return clock.now_ms() if self._clock_ms is None else self._clock_ms

    @clock_ms.setter
    def clock_ms(self, value: int | None) -> None:
        self._clock_ms = value

    @property
    def now(self) -> int:
        """In seconds, as Stripe counts."""
        return self.clock_ms // 1000

    def new_id(self, kind: str) -> str:
        prefix = PREFIXES[kind]
        if kind == "checkout.session":
            return f"{prefix}_{'live' if self.livemode else 'test'}_a1{secrets.token_hex(28)}"
        return f"{prefix}_{secrets.token_hex(12)}"

    def keep(self, obj: Object) -> Object:
        """Add an object, held against its schema."""
        self.objects[obj["id"]] = obj
        self.judge(obj["object"], obj)
        return obj

    def judge(self, schema: str, value: Any) -> None:
        self.broken += spec.faults(schema, value)

    def find(self, identifier: str, kind: str) -> Object:
        """An object as it is kept; refused as Stripe refuses an unknown id."""
        self.pass_time()
        found = self.objects.get(identifier)
        if found is None or found["object"] != kind:
            name = kind.replace("checkout.", "checkout ").replace(" ", ".")
            raise Refusal(
                404, f"No such {name}: '{identifier}'", code="resource_missing", param=kind.rpartition(".")[2]
            )
        return found

    def kept(self, wanted: str | Object, kind: str) -> Object:
        """The object itself, named by its id or by a copy."""
        return self.find(wanted if isinstance(wanted, str) else wanted["id"], kind)

    def of(self, kind: str, **fields: Any) -> list[Object]:
        """Objects of a kind with these values, newest first."""
        found = [one for one in self.objects.values() if one["object"] == kind]
        found = [one for one in found if all(one.get(key) == value for key, value in fields.items())]
        found.reverse()
        return sorted(found, key=lambda one: -one["created"])

    @property
    def events(self) -> list[Object]:
        """Every event there was, oldest first."""
        with self.lock:
            return [one for one in self.objects.values() if one["object"] == "event"]

    def emit(self, kind: str, obj: Object) -> Object:
        """Note what happened to an object, and tell the listeners."""
        made = objects.event(
            self.new_id("event"),
            kind,
            copy.deepcopy(obj),
            livemode=self.livemode,
            now=self.now,
            api_version=self.api_version,
            key=self._key,
        )
        self.keep(made)
        for listener in self.listeners:
            listener(made)
        return made

    def pass_time(self) -> None:
        """Expire the open sessions whose time is over."""
        for one in [one for one in self.objects.values() if one["object"] == "checkout.session"]:
            if one["status"] == "open" and one["expires_at"] <= self.now:
                self.end_session(one)

    def end_session(self, session: Object) -> None:
        session |= {"status": "expired", "url": None}
        self.emit("checkout.session.expired", session)

    def expanded(self, obj: Object, paths: list[str]) -> Object:
        """A copy with the objects behind these ids in it: ``payment_intent.latest_charge``, ``data.charge``."""
        shown = copy.deepcopy(obj)
        for path in paths:
            self._expand(shown, path.split("."), path)
        return shown

    def _expand(self, place: Any, path: list[str], whole: str) -> None:
        head, *rest = path
        if isinstance(place, list):
            for one in place:
                self._expand(one, path, whole)
            return
        if head == "line_items" and place.get("object") == "checkout.session":
            url = f"/v1/checkout/sessions/{place['id']}/line_items"
            lines = copy.deepcopy(self._lines[place["id"]])
            place[head] = {"object": "list", "data": lines, "has_more": False, "url": url}
            return
        if head not in place:
            raise Refusal(400, f"This property cannot be expanded ({whole}).", param="expand[0]")
        if isinstance(place[head], str) and place[head] in self.objects:
            place[head] = copy.deepcopy(self.objects[place[head]])
        if rest and place[head] is not None:
            self._expand(place[head], rest, whole)
