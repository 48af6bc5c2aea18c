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
from forebay.flow.fleet import PoolKey
from forebay.parameters import POOL_KEY

_ATTEMPTS = 6
_SERVICE_LABELS = "app.kubernetes.io/part-of=forebay"
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
    "Without it, its Service is looked for by its labels and asked through the API server.",
)
@click.option(
    "--operator-namespace", default=None, show_default="all", help="Look for the operator's Service here only."
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

    The whole decision record comes from the running operator; where that cannot be reached, the compact record in
    the pool's status is told instead, and the answer says so.

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
            record, why_not = await _ask_services(api, namespace, pool)
    return Explanation(pool=pool, resource=resource, record=record, record_missing=why_not)


async def _ask_services(
    api: KubeApi, namespace: str | None, pool: PoolKey
) -> tuple[Mapping[str, Any] | None, str]:
    """Ask each operator that is there: fleets shard over several, and one of them has the pool."""
    services = await _services(api, namespace)
    reasons = []
    for service in services:
        record, why_not = await _ask_service(api, service, pool)
        if record is not None:
            return record, ""
        reasons.append(why_not)
    return None, "; ".join(reasons) or f"there is no Service with the labels {_SERVICE_LABELS}"


async def _services(api: KubeApi, namespace: str | None) -> list[str]:
    """Return the paths of the operators' Services; who may not list them asks where a plain install has it."""
    where = f"namespaces/{quote(namespace)}/" if namespace else ""
    try:
        found = await api.get(f"/api/v1/{where}services", params={"labelSelector": _SERVICE_LABELS})
    except ApiError as error:
        if not error.forbidden:
            raise
        return [_service_path(namespace or _PLAIN_NAMESPACE, "forebay")]
    names = [item["metadata"] for item in found.get("items") or ()]
    return [_service_path(str(metadata["namespace"]), str(metadata["name"])) for metadata in names]


def _service_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/services/{quote(name)}"


async def _ask_service(api: KubeApi, service: str, pool: PoolKey) -> tuple[Mapping[str, Any] | None, str]:
    """Ask one operator's Service through the API server's proxy, with the user's own rights."""
    path = f"{service}:http/proxy/decisions/{quote(pool.namespace)}/{quote(pool.name)}"
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            return await api.get(path), ""
        except ApiError as error:
            # The Service picks a replica by chance, and a standby knows of no decision.
            if not attempts_left or not error.not_found:
                why = error.reason or str(error.status)
                break
    return None, f"the operator behind {service.removeprefix('/api/v1/')} had no record ({why})"


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
