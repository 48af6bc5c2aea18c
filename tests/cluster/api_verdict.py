"""Ask the API server what it thinks of an object, without storing it."""

import json
from collections.abc import Mapping
from typing import Any

from kubernetes.client.exceptions import ApiException

from devcluster import Rest
from forebay.api.base import API_VERSION
from forebay.api.v1alpha1 import KINDS

_INFO = {kind.__name__: kind.info for kind in KINDS}
_DRY_RUN = {"dryRun": "All", "fieldValidation": "Strict"}


def collection(kind: str, namespace: str) -> str:
    """Return the path of the collection that objects of ``kind`` are in."""
    info = _INFO[kind]
    inside = f"/namespaces/{namespace}" if info.namespaced else ""
    return f"/apis/{API_VERSION}{inside}/{info.plural}"


def refusal(rest: Rest, body: Mapping[str, Any], namespace: str) -> str | None:
    """Return why the API server would not create ``body``, or ``None`` if it would."""
    try:
        rest.request("POST", collection(body["kind"], namespace), body, query=_DRY_RUN)
    except ApiException as error:
        return _message(error)
    return None


def refusal_of_change(
    rest: Rest, before: Mapping[str, Any], after: Mapping[str, Any], namespace: str
) -> str | None:
    """Create ``before`` for real, and return why the API server would not replace it by ``after``."""
    path = collection(before["kind"], namespace)
    created: Any = rest.request("POST", path, before)
    name = created["metadata"]["name"]
    changed = {
        **after,
        "metadata": {**after["metadata"], "resourceVersion": created["metadata"]["resourceVersion"]},
    }
    try:
        rest.request("PUT", f"{path}/{name}", changed, query=_DRY_RUN)
    except ApiException as error:
        return _message(error)
    finally:
        rest.delete(f"{path}/{name}")
    return None


def _message(error: ApiException) -> str:
    if error.status not in (400, 422):
        raise error
    status: dict[str, Any] = json.loads(error.body or "{}")
    return str(status.get("message", error))
