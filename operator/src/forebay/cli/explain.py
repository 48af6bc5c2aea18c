"""`forebay explain`: why a pool has the replicas that it has."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from forebay.actuation.kube import ApiError, CredentialsError, KubeApi, load_configuration
from forebay.api.base import GROUP, VERSION
from forebay.cli.explanation import Explanation, as_text
from forebay.cli.portforward import PortForwardError, get_from_pod
from forebay.flow.fleet import PoolKey
from forebay.parameters import POOL_KEY

_POD_LABELS = "app.kubernetes.io/part-of=forebay,app.kubernetes.io/component=operator"
_PORT = 8080
"""Where the operator listens in its pod."""
_PLAIN_NAMESPACE = "forebay-system"


@click.command("explain")
@click.argument("pool", type=POOL_KEY)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--kubeconfig", type=click.Path(), help="Credentials outside a cluster.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option(
    "--operator-url",
    envvar="FOREBAY_OPERATOR_URL",
    show_envvar=True,
    help="Where the operator listens, such as http://127.0.0.1:8080 behind kubectl port-forward. "
    "Without it, its pods are looked for by their labels and asked through the API server.",
)
@click.option(
    "--operator-namespace", default=None, show_default="all", help="Look for the operator's pods here only."
)
def command(
    pool: PoolKey,
    output: str,
    kubeconfig: str | None,
    context: str | None,
    operator_url: str | None,
    operator_namespace: str | None,
) -> None:
    """Say why POOL (NAMESPACE/NAME) has the replicas that it has, step by step.

    The whole decision record comes from the running operator, through a port-forward: it takes the rights to
    list pods and to port-forward in the operator's namespace. Without them, or without an operator, the compact
    record in the pool's status is told instead, and the answer says so.

    \b
    forebay explain serving/chat
    forebay explain serving/chat -o json | jq .record.decision.reasons
    """  # noqa: D301  (click reads the backspace as "do not wrap")
    try:
        explanation = asyncio.run(_explain(pool, kubeconfig, context, operator_url, operator_namespace))
    except CredentialsError as error:
        raise click.ClickException(str(error)) from error
    except ApiError as error:
        raise click.ClickException(_sentence(pool, error)) from error
    if output == "json":
        click.echo(json.dumps(explanation.as_json(), indent=2))
    else:
        click.echo(as_text(explanation, colour=sys.stdout.isatty()), nl=False)


async def _explain(
    pool: PoolKey, kubeconfig: str | None, context: str | None, url: str | None, namespace: str | None
) -> Explanation:
    configuration = await load_configuration(kubeconfig, context)
    async with KubeApi(configuration) as api:
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{quote(pool.namespace)}/inferencepools/{quote(pool.name)}"
        resource = await api.get(path)
        if url is not None:
            record, why_not = await _ask(url.rstrip("/"), pool)
        else:
            record, why_not = await _ask_operators(api, namespace, pool)
    return Explanation(pool=pool, resource=resource, record=record, record_missing=why_not)


async def _ask_operators(
    api: KubeApi, namespace: str | None, pool: PoolKey
) -> tuple[Mapping[str, Any] | None, str]:
    """Ask each operator that runs: fleets shard over several, and only the leader of one has the pool's record."""
    reasons = []
    for pod in await _operator_pods(api, namespace):
        name = pod.removeprefix("/api/v1/")
        path = f"/decisions/{quote(pool.namespace)}/{quote(pool.name)}"
        try:
            status, body = await get_from_pod(api, pod, _PORT, path)
            if status == 200:
                return json.loads(body), ""
            reasons.append(f"{name} has no record")
        except (ApiError, PortForwardError, ValueError) as error:
            reasons.append(f"{name} could not be asked: {error}")
    return None, "; ".join(reasons) or f"no pod runs with the labels {_POD_LABELS}"


async def _operator_pods(api: KubeApi, namespace: str | None) -> list[str]:
    """Return the paths of the operators' pods; who may not list all looks where a plain install has them."""
    where = f"namespaces/{quote(namespace)}/" if namespace else ""
    try:
        found = await api.get(f"/api/v1/{where}pods", params={"labelSelector": _POD_LABELS})
    except ApiError as error:
        if not error.forbidden or namespace:
            raise
        return await _operator_pods(api, _PLAIN_NAMESPACE)
    running = [item["metadata"] for item in found.get("items") or () if _is_running(item)]
    return [
        f"/api/v1/namespaces/{quote(str(metadata['namespace']))}/pods/{quote(str(metadata['name']))}"
        for metadata in running
    ]


def _is_running(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running"


async def _ask(url: str, pool: PoolKey) -> tuple[Mapping[str, Any] | None, str]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=5.0)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/decisions/{quote(pool.namespace)}/{quote(pool.name)}") as response,
        ):
            answer = await response.json()
            if response.status != 200:
                return None, str(answer.get("error", f"status {response.status}"))
            return answer, ""
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return None, f"{url} did not answer: {str(error) or type(error).__name__}"


def _sentence(pool: PoolKey, error: ApiError) -> str:
    if error.not_found:
        return f"There is no inferencepools.{GROUP} {pool.name} in namespace {pool.namespace}."
    return str(error)
