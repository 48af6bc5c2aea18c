"""A number of nodes behind a `/scale` subresource: read and written as one number, by whichever kind it is of."""

from dataclasses import dataclass

from forebay.actuation.kube import ApiError, KubeApi


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCount:
    """The number of nodes that an object asks for, as read."""

    nodes: int
    resource_version: str | None


async def read_count(api: KubeApi, path: str) -> NodeCount:
    """Return the number at `path`, the object's own path.

    Raises:
        ApiError: the object does not exist, or has no number (404), or the server failed.
    """
    scale = await api.get(f"{path}/scale")
    # Zero is left out of the answer.
    return NodeCount(
        nodes=int((scale.get("spec") or {}).get("replicas") or 0),
        resource_version=(scale.get("metadata") or {}).get("resourceVersion"),
    )


async def write_count(api: KubeApi, path: str, nodes: int, before: NodeCount) -> bool:
    """Set the number at `path`; False if somebody changed the object since it was read, who wins.

    Raises:
        ApiError: the server refused for another reason, or failed.
    """
    body: dict[str, object] = {"spec": {"replicas": nodes}}
    if before.resource_version is not None:
        body["metadata"] = {"resourceVersion": before.resource_version}
    try:
        await api.merge_patch(f"{path}/scale", body)
    except ApiError as error:
        if error.conflict:
            return False
        raise
    return True


def explained(error: ApiError, what: str, right: str) -> str:
    """Return a sentence for an answer that will not change by itself.

    Args:
        error: the API server's answer.
        what: the object, for a person.
        right: what its rights are called in the chart.

    Raises:
        ApiError: the error, where it may pass.
    """
    if error.not_found:
        return (
            f"{what} does not exist, or sets no number of nodes: create it, or correct the provider's parameters."
        )
    if error.forbidden:
        return f"{what} may not be read or scaled: allow it by {right}."
    if error.refused:
        return f"{what} was not scaled: {error}"
    raise error
