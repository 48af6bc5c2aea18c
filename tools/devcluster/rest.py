"""A thin, typed way to the API server: JSON in, JSON out, through the official client's connection."""

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import load_kube_config

Json = dict[str, object]
_TIMEOUT_SECONDS = 15.0

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


def api_client(kubeconfig: Path) -> client.ApiClient:
    """Return a new client of the official Python library for a kubeconfig's current context."""
    configuration = client.Configuration()
    load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    return client.ApiClient(configuration)


class Rest:
    """Requests to one API server with the credentials of an `ApiClient`.

    Errors are the official client's `ApiException`, with the answer's status and body. Not safe to use from
    several threads: give each its own.
    """

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """Send a request and return the answer's JSON object.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: from `/api` or `/apis` on.
            body: sent as JSON; nothing when None.
            query: of the address.
            content_type: of the body; for PATCH it says what kind of patch it is.

        Raises:
            ApiException: the server refused (its `status` says how), or could not be reached (`status` 0).
        """
        headers = {"Accept": "application/json", "Content-Type": content_type}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = f"{self._api.configuration.host}{path}{'?' + urlencode(query) if query else ''}"
        answer = self._api.rest_client.request(  # type: ignore[no-untyped-call]
            method, url, headers=headers, body=body, _request_timeout=_TIMEOUT_SECONDS
        )
        data = answer.read()
        if not 200 <= answer.status <= 299:
            raise ApiException(status=answer.status, reason=answer.reason, body=data.decode(errors="replace"))
        document: Json = json.loads(data) if data else {}
        return document

    def get(self, path: str, **query: str) -> Json:
        """Read one object, or a list as it is."""
        return self.request("GET", path, query=query)

    def items(self, path: str, **query: str) -> list[Json]:
        """Read a list's items; the answer of a list leaves their kind out, and so do these."""
        return sequence(self.get(path, **query), "items")

    def create(self, path: str, body: object) -> Json:
        """Create an object in the collection at `path`."""
        return self.request("POST", path, body)

    def patch(self, path: str, body: object, *, content_type: str = MERGE_PATCH) -> Json:
        """Patch an object; a merge patch unless told otherwise."""
        return self.request("PATCH", path, body, content_type=content_type)

    def delete(self, path: str, **query: str) -> Json:
        """Delete an object."""
        return self.request("DELETE", path, query=query)

    def exists(self, path: str) -> bool:
        """Whether an object is there."""
        try:
            self.get(path)
        except ApiException as error:
            if error.status == 404:
                return False
            raise
        return True


def mapping(document: Json, *path: str) -> Json:
    """Return the object at `path` in a document, empty where there is none."""
    for key in path:
        below = document.get(key)
        document = below if isinstance(below, dict) else {}
    return document


def sequence(document: Json, *path: str) -> list[Json]:
    """Return the list of objects at `path` in a document, empty where there is none."""
    *parents, last = path
    value = mapping(document, *parents).get(last)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(document: Json, *path: str) -> str:
    """Return the text at `path` in a document, empty where there is none."""
    *parents, last = path
    value = mapping(document, *parents).get(last)
    return value if isinstance(value, str) else ""


def condition_status(document: Json, condition: str) -> str | None:
    """Return the status of a condition in an object's status, None where it has none of that type."""
    for candidate in sequence(document, "status", "conditions"):
        if candidate.get("type") == condition:
            return text(candidate, "status")
    return None
