"""The external metrics API for an HPA, by PromQL: a program of its own, which runs in a pod beside Prometheus.

An HPA on anything but CPU needs such an adapter (prometheus-adapter, KEDA's metrics server). This one has the two
answers that the HPA controller asks for, and nothing else: Forebay can be compared with a plain HPA where no other
image can be had.
"""

import argparse
import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime

import aiohttp
from aiohttp import web

_GROUP = "external.metrics.k8s.io/v1beta1"
_QUERY_SECONDS = 5.0


class Adapter:
    """Answers with what Prometheus says now.

    Args:
        prometheus: its address.
        queries: PromQL by the metric's name; each must give one value, or none.
        session: for the queries.
    """

    def __init__(self, prometheus: str, queries: Mapping[str, str], session: aiohttp.ClientSession) -> None:
        self._prometheus = prometheus
        self._queries = queries
        self._session = session

    def application(self) -> web.Application:
        """Return the application with both paths."""
        application = web.Application()
        application.add_routes(
            [
                web.get(f"/apis/{_GROUP}", self._resources),
                web.get(f"/apis/{_GROUP}/namespaces/{{namespace}}/{{metric}}", self._values),
            ]
        )
        return application

    async def _resources(self, _request: web.Request) -> web.Response:
        resources = [
            {
                "name": name,
                "singularName": "",
                "namespaced": True,
                "kind": "ExternalMetricValueList",
                "verbs": ["get"],
            }
            for name in self._queries
        ]
        return web.json_response(
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _GROUP, "resources": resources}
        )

    async def _values(self, request: web.Request) -> web.Response:
        name = request.match_info["metric"]
        if name not in self._queries:
            raise web.HTTPNotFound(text=f"there is no metric {name}")
        items = [
            {
                "metricName": name,
                "metricLabels": {},
                "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "value": f"{round(1_000 * value)}m",
            }
            for value in await self._asked(self._queries[name])
        ]
        return web.json_response(
            {"kind": "ExternalMetricValueList", "apiVersion": _GROUP, "metadata": {}, "items": items}
        )

    async def _asked(self, query: str) -> list[float]:
        """Return the value that Prometheus has, nothing where it has none: an HPA then keeps its replicas."""
        timeout = aiohttp.ClientTimeout(total=_QUERY_SECONDS)
        url = f"{self._prometheus}/api/v1/query"
        async with self._session.get(url, params={"query": query}, timeout=timeout) as answer:
            answer.raise_for_status()
            found = (await answer.json())["data"]["result"]
        return [float(sample["value"][1]) for sample in found]


def main() -> None:
    """Serve until the pod ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--metric", action="append", required=True, metavar="NAME=PROMQL")
    parser.add_argument("--tls", required=True, metavar="FOLDER", help="with tls.crt and tls.key")
    parser.add_argument("--port", type=int, default=6443)
    asyncio.run(_serve(parser.parse_args()))


async def _serve(options: argparse.Namespace) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(f"{options.tls}/tls.crt", f"{options.tls}/tls.key")
    queries = dict(pair.split("=", 1) for pair in options.metric)
    async with aiohttp.ClientSession() as session:
        runner = web.AppRunner(Adapter(options.prometheus, queries, session).application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", options.port, ssl_context=tls).start()  # noqa: S104 - a pod's own
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
