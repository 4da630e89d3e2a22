"""The desk of the fake Stripe: keys, idempotency, faults, and the judge of what goes in and out."""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.stripe import api, forms, spec
from tests.fakes.stripe.bank import Bank
from tests.fakes.stripe.books import Refusal

KEYS_KEPT_MS = 24 * 3_600_000
FAULTS = frozenset(
    {
        "drop_before",
        "drop_after",
        "truncate",
        "garbage",
        "empty",
        "500",
        "stored_500",
        "stored_500_empty",
        "409",
        "429",
        "401",
        "403",
        "slow",
        "slow_after",
    }
)


@dataclass
class Fault:
    """Something that goes wrong with the next requests that it fits."""

    kind: str
    path: str
    method: str | None
    times: int
    seconds: float
    skip: int


@dataclass
class Asked:
    """A request that arrived."""

    method: str
    path: str
    params: dict[str, Any]
    key: str | None
    headers: dict[str, str]
    status: int = 0
    """What was answered; 0: nothing."""
    made_effect: bool = False
    replayed: bool = False


@dataclass
class _Stored:
    """The first result of an idempotency key."""

    request: tuple[str, str, str]
    at_ms: int
    answer: tuple[int, bytes] | None = None
    """None: it is still being carried out."""


@dataclass
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    """``reset``: no answer; ``half``: half of the body."""


class Desk(Bank):
    """Answers requests, one or many at a time."""

    def __init__(self, *, livemode: bool = False, secret_key: str | None = None) -> None:
        super().__init__(livemode=livemode)
        self.secret_key = secret_key or f"sk_{'live' if livemode else 'test'}_51FakeStripe0000000000000000"
        self.asked: list[Asked] = []
        """Every request, in the order of arrival."""
        self.before: Callable[[Asked], None] = lambda asked: None
        """Called with each request before it is carried out, without the lock: for races."""
        self.extra: dict[tuple[str, str], Callable[[dict[str, Any]], dict[str, Any]]] = {}
        """Operations beyond Stripe's published API, by method and path: the command-line tool has some."""
        self._faults: list[Fault] = []
        self._stored: dict[str, _Stored] = {}

    def fault(
        self,
        kind: str,
        path: str = "*",
        times: int = 1,
        *,
        method: str | None = None,
        seconds: float = 0.5,
        skip: int = 0,
    ) -> None:
        """Let the next ``times`` requests to a path (a pattern with ``*``) go wrong, after ``skip`` that do not.

        drop_before: the connection breaks, nothing was done. drop_after, truncate, garbage,
        empty: done, but the answer is lost, cut, HTML or empty. 500: an error, nothing done, not
        stored. stored_500: done, and this key answers 500 from now on; stored_500_empty: the
        same without effect. 409: this key is in use. 429: too many. 401, 403: the key is refused.
        slow, slow_after: ``seconds`` late, before or after it is done.
        The client repeats what fails (2 times): ``times=3`` makes a whole call fail.
        """
        assert kind in FAULTS, kind
        with self.lock:
            self._faults.append(Fault(kind, path, method, times, seconds, skip))

    def heal(self) -> None:
        """Forget the faults that are still to come."""
        with self.lock:
            self._faults.clear()

    @property
    def faults_left(self) -> int:
        """How many faults have not struck so often as they should."""
        return len(self._faults)

    def posts(self, path: str = "*") -> int:
        """How many POST requests arrived at a path (a pattern), repeats included."""
        return sum(one.method == "POST" and fnmatchcase(one.path, path) for one in list(self.asked))

    def effects(self, path: str = "*") -> int:
        """How many POSTs to a path (a pattern) were carried out: what was made or changed here."""
        return sum(one.made_effect and fnmatchcase(one.path, path) for one in list(self.asked))

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """Carry out one request."""
        parts = urlsplit(target)
        raw = forms.decode(body.decode() if method == "POST" else parts.query)
        asked = Asked(method, parts.path, raw, headers.get("idempotency-key"), headers)
        with self.lock:
            self.asked.append(asked)
            fault = self._next_fault(asked)
        self.before(asked)
        reply = self._with_fault(fault, asked, raw)
        asked.status = 0 if reply.cut else reply.status
        return reply

    def _next_fault(self, asked: Asked) -> Fault | None:
        for fault in self._faults:
            if fnmatchcase(asked.path, fault.path) and fault.method in (None, asked.method):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if not fault.times:
                    self._faults.remove(fault)
                return fault
        return None

    def _with_fault(self, fault: Fault | None, asked: Asked, raw: dict[str, Any]) -> Reply:
        kind = fault.kind if fault else ""
        seconds = fault.seconds if fault else 0.0
        if kind == "drop_before":
            return Reply(0, b"", cut="reset")
        if kind in _INSTEAD:
            return _refusal(_INSTEAD[kind])
        if kind == "slow":
            time.sleep(seconds)
        reply = self._carry_out(asked, raw, store_500=kind)
        if kind == "slow_after":
            time.sleep(seconds)
        if kind == "drop_after":
            return Reply(reply.status, b"", cut="reset")
        if kind == "truncate":
            return Reply(reply.status, reply.body, reply.headers, cut="half")
        if kind == "garbage":
            return Reply(200, b"<html><body>Bad gateway</body></html>", {"Content-Type": "text/html"})
        return Reply(200, b"") if kind == "empty" else reply

    def _carry_out(self, asked: Asked, raw: dict[str, Any], *, store_500: str) -> Reply:
        try:
            self._authorize(asked)
            params = raw if (asked.method, asked.path) in self.extra else api.coerce(asked.method, asked.path, raw)
        except Refusal as refusal:
            if refusal.status == 400:
                with self.lock:
                    self.broken.append(f"{asked.method} {asked.path}: {refusal}")
            return _refusal(refusal)
        if (special := self.extra.get((asked.method, asked.path))) is not None:
            return Reply(200, json.dumps(special(raw)).encode())
        if asked.method != "POST" or asked.key is None:
            status, body = self._perform(asked, params)
            return Reply(status, body)
        return self._once(asked, params, store_500=store_500)

    def _authorize(self, asked: Asked) -> None:
        if asked.headers.get("authorization") != f"Bearer {self.secret_key}":
            raise Refusal(401, "Invalid API Key provided: sk_test_****")
        version = asked.headers.get("stripe-version")
        if version not in (None, spec.API_VERSION):
            raise Refusal(400, f"Invalid Stripe API version: {version}")

    def _once(self, asked: Asked, params: dict[str, Any], *, store_500: str) -> Reply:
        """Carry out a POST, or say again what was said to its key."""
        assert asked.key is not None
        request = (asked.method, asked.path, json.dumps(params, sort_keys=True))
        with self.lock:
            known = self._stored.get(asked.key)
            if known is not None and known.at_ms <= self.clock_ms - KEYS_KEPT_MS:
                known = None
            if known is None:
                stored = self._stored[asked.key] = _Stored(request, self.clock_ms)
            elif known.request != request:
                message = (
                    "Keys for idempotent requests can only be used with the same parameters they were first used with."
                )
                return _refusal(Refusal(400, message, "idempotency_error"))
            elif known.answer is None:
                return _refusal(_INSTEAD["409"])
            else:
                asked.replayed = True
                return Reply(*known.answer, {"Idempotent-Replayed": "true"})
        answer = (500, _error(500, "An unknown error occurred", "api_error"))
        try:
            if store_500 != "stored_500_empty":
                made = self._perform(asked, params)
                answer = answer if store_500 == "stored_500" else made
        finally:
            with self.lock:
                stored.answer = answer
        return Reply(*answer)

    def _perform(self, asked: Asked, params: dict[str, Any]) -> tuple[int, bytes]:
        with self.lock:
            self._key = asked.key
            count = len(self.objects)
            try:
                schema, made = api.call(self, asked.method, asked.path, copy.deepcopy(params))
                asked.made_effect = asked.method == "POST"
                if wrong := spec.faults(schema, made):
                    self.broken += wrong
                    return 500, _error(500, f"the fake's reply does not fit: {wrong[0]}", "api_error")
                return 200, json.dumps(made).encode()
            except Refusal as refusal:
                asked.made_effect = asked.method == "POST" and len(self.objects) > count
                if wrong := spec.faults("error", {"error": refusal.error}):
                    self.broken += wrong
                return refusal.status, json.dumps({"error": refusal.error}).encode()
            finally:
                self._key = None


def _error(status: int, message: str, kind: str) -> bytes:
    return json.dumps({"error": {"type": kind, "message": message}}).encode()


def _refusal(refusal: Refusal) -> Reply:
    return Reply(refusal.status, json.dumps({"error": refusal.error}).encode())


_IN_USE = "There is currently another in-progress request using this Idempotent Key."
_INSTEAD = {
    "500": Refusal(500, "An unknown error occurred", "api_error"),
    "409": Refusal(409, _IN_USE, "idempotency_error", code="idempotency_key_in_use"),
    "429": Refusal(429, "Request rate limit exceeded.", code="rate_limit"),
    "401": Refusal(401, "Invalid API Key provided: sk_test_****"),
    "403": Refusal(403, "The provided key does not have the required permissions for this endpoint."),
}
