"""The operator's HTTP endpoint: /healthz, /readyz, /metrics, and to this host the decision record of each pool."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from forebay.flow.fleet import PoolKey
from forebay.runtime.health import Health
from forebay.runtime.metrics import Metrics

_OWN_HOST = frozenset({"127.0.0.1", "::1"})
"""Where a port-forward comes from, and nobody else in the cluster."""
_OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class WebServer:
    """Serves probes, metrics and decisions until stopped.

    Args:
        health: answers the probes.
        metrics: rendered off the event loop.
        decision: returns the last decision record of a pool as plain JSON data, or None.
    """

    def __init__(
        self,
        health: Health,
        metrics: Metrics,
        decision: Callable[[PoolKey], Mapping[str, Any] | None],
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._decision = decision
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port (a free one where 0 was asked for).

        Raises:
            OSError: the port is taken.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/decisions/{namespace}/{name}", self._serve_decision)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, _: web.Request) -> web.Response:
        return _probe(*self._health.live())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _probe(*self._health.ready())

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        body = await asyncio.to_thread(self._metrics.exposition)
        return web.Response(body=body, headers={"Content-Type": _OPEN_METRICS})

    async def _serve_decision(self, request: web.Request) -> web.Response:
        if request.remote not in _OWN_HOST:
            # Records tell of every team's traffic and costs: who may port-forward to this pod may read them.
            return web.json_response({"error": "decisions are served to this host only: port-forward"}, status=403)
        key = PoolKey(request.match_info["namespace"], request.match_info["name"])
        record = self._decision(key)
        if record is None:
            return web.json_response({"error": f"no decision about {key} yet"}, status=404)
        return web.json_response(record, dumps=lambda data: json.dumps(data, allow_nan=False))


def _probe(good: bool, why: str) -> web.Response:
    return web.Response(text=f"{why}\n", status=200 if good else 503)
