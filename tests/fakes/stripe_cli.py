"""What the official Stripe CLI (``listen``) needs of Stripe: a session, and a websocket that carries events to it.

with CommandLine(stripe, binary, folder, forward_to) as cli:     # ``stripe listen --forward-to …``
    stripe.pay(session)                                          # forwarded, signed with cli.secret
"""

import asyncio
import json
import os
import queue
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Self

from aiohttp import WSMsgType, web

from tests.fakes.stripe import FakeStripe, spec, webhooks
from tests.fakes.stripe.objects import Object
from tokenhub.billing.payments import EVENT_TYPES

SUBPROTOCOL = "stripecli-devproxy-v1"
DEADLINE_S = 30.0


class Relay:
    """The websocket that Stripe offers its CLI: sends every event of a fake, keeps what comes back."""

    def __init__(self, stripe: FakeStripe, secret: str) -> None:
        self.secret = secret
        self.connected = threading.Event()
        self.answers: list[Object] = []
        """What the CLI reported: ``event_ack`` and ``webhook_response``."""
        self.port = 0
        self._events: queue.Queue[Object] = queue.Queue()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        stripe.extra["POST", "/v1/stripecli/sessions"] = self._session
        stripe.listeners.append(self._events.put)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)

    def statuses(self) -> list[int]:
        """What the gateway answered, as the CLI reports it."""
        return [int(one["status"]) for one in list(self.answers) if one["type"] == "webhook_response"]

    def _session(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            "websocket_id": "cliws_fake",
            "websocket_url": f"ws://127.0.0.1:{self.port}/subscribe",
            "websocket_authorized_feature": "webhooks",
            "secret": self.secret,
            "default_version": spec.API_VERSION,
            "latest_version": spec.API_VERSION,
            "reconnect_delay": 300,
        }

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/subscribe", self._serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        wire = web.WebSocketResponse(protocols=[SUBPROTOCOL])
        await wire.prepare(request)
        sender = asyncio.ensure_future(self._send(wire))
        self.connected.set()
        try:
            async for message in wire:
                if message.type is WSMsgType.TEXT:
                    self.answers.append(json.loads(message.data))
        finally:
            sender.cancel()
        return wire

    async def _send(self, wire: web.WebSocketResponse) -> None:
        number = 0
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                await asyncio.sleep(0.02)
                continue
            number += 1
            payload = webhooks.body(event)
            await wire.send_json(
                {
                    "type": "webhook_event",
                    "event_payload": payload.decode(),
                    "http_headers": {
                        "Content-Type": "application/json; charset=utf-8",
                        "User-Agent": "Stripe/1.0",
                        "Stripe-Signature": webhooks.signature(payload, self.secret),
                    },
                    "webhook_id": f"wh_{number}",
                    "webhook_conversation_id": f"wc_{number}",
                    "endpoint": {"api_version": None},
                }
            )


class CommandLine:
    """``stripe listen`` as a process, connected to a fake."""

    def __init__(self, stripe: FakeStripe, binary: Path, folder: Path, forward_to: str, secret: str) -> None:
        self.relay = Relay(stripe, secret)
        self.log = folder / "stripe-cli.log"
        self._stripe = stripe
        self._binary = binary
        self._environment = {**os.environ, "HOME": str(folder), "STRIPE_CLI_TELEMETRY_OPTOUT": "1"}
        with self.log.open("wb") as messages:
            self.process = subprocess.Popen(
                [
                    *self._command("listen"),
                    "--skip-update",
                    "--forward-to",
                    forward_to,
                    "--events",
                    ",".join(sorted(EVENT_TYPES)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    def _command(self, verb: str) -> list[str]:
        return [str(self._binary), verb, "--api-key", self._stripe.secret_key, "--api-base", self._stripe.url]

    def run(self, verb: str, *arguments: str) -> str:
        """Run another command of the CLI's, such as ``events resend``; return what it printed."""
        done = subprocess.run(
            [*self._command(verb), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S, env=self._environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait(self) -> None:
        """Wait until it is connected."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not self.relay.connected.wait(0.05):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline_s, self.log.read_text()

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        self.relay.stop()
