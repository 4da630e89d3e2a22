"""The measuring stick: the least that a gateway on aiohttp can do, and nothing else.

    python -m bench.baseline --upstream http://127.0.0.1:9100 [--port 0]      prints READY and its address

It decodes and encodes each JSON body in both directions and looks for the usage in a stream,
as every gateway must, with aiohttp set up as fast as it goes: no application, no access log,
one session, no cookies, no redirects, no decompression, no limit of connections, no timers.
No key is checked, nothing is counted, charged or written.
"""

import argparse
import asyncio
import sys

import aiohttp
import orjson
import uvloop
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

HEADERS = CIMultiDict(
    {
        "Authorization": "Bearer sk-upstream",
        "Content-Type": "application/json",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "baseline",
    }
)
STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class Baseline:
    """Passes every request on to one upstream."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str) -> None:
        self.session = session
        self.url = URL(upstream + "/v1/chat/completions", encoded=True)
        self.usage: object = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        body["user"] = "u1"
        async with self.session.post(self.url, data=orjson.dumps(body), headers=HEADERS) as reply:
            if reply.content_type == "text/event-stream":
                return await self.relay(request, reply)
            data = orjson.loads(await reply.read())
        self.usage = data["usage"]
        return web.Response(body=orjson.dumps(data), content_type="application/json")

    async def relay(self, request: web.BaseRequest, reply: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(headers=STREAM_HEADERS)
        await response.prepare(request)
        async for data in reply.content.iter_any():
            if b'"prompt_tokens"' in data:
                self.usage = data
            await response.write(data)
        await response.write_eof()
        return response


async def serve(upstream: str, port: int) -> None:
    """Serve on loopback until killed."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    runner = web.ServerRunner(web.Server(Baseline(session, upstream).handle, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096)
    await site.start()
    print(f"READY http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--upstream", required=True)
    arguments.add_argument("--port", type=int, default=0)
    chosen = arguments.parse_args()
    sys.exit(uvloop.run(serve(chosen.upstream, chosen.port)))
