"""Write replica counts: a JSON patch of `/scale` that first tests the count that the decision was made on.

The test is an optimistic lock on the count alone: whoever changed it since it was read wins, and the next round
decides on what is there then. A lock on the object's resourceVersion would lose to every status write of its
controller, which is busiest while replicas come and go. Nothing is written where the count is right already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from forebay.actuation.kube import ApiError, JsonObject, KubeApi
from forebay.actuation.targets import TargetDirectory, TargetRef, UnknownKindError


class ScaleResult(StrEnum):
    """What became of one wish to have `replicas`."""

    WRITTEN = "Written"
    UNCHANGED = "Unchanged"
    PARKED = "Parked"
    """The count stays: replicas were parked, or take traffic again."""
    CONFLICT = "WriteConflict"
    """Somebody changed the count since it was read; decided anew in the next round."""
    THROTTLED = "Throttled"
    NOT_FOUND = "TargetNotFound"
    FORBIDDEN = "Forbidden"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class ScaleState:
    """A target's `/scale` as read: `replicas` is None where the object does not set it yet."""

    replicas: int | None
    resource_version: str | None
    selector: str = ""


@dataclass(frozen=True, slots=True)
class ScaleOutcome:
    """The result of one `scale` call, with a sentence for the status."""

    result: ScaleResult
    message: str


class ScaleWriter:
    """Reads and writes `/scale` of any target.

    Args:
        api: a fenced client.
        directory: resolves kinds.
        clock: monotonic seconds, for honouring Retry-After per target.
    """

    def __init__(self, api: KubeApi, directory: TargetDirectory, clock: Callable[[], float]) -> None:
        self._api = api
        self._directory = directory
        self._clock = clock
        self._not_before: dict[TargetRef, float] = {}

    async def read(self, target: TargetRef) -> ScaleState:
        """Return the target's present scale.

        A custom resource whose `spec.replicas` is unset answers 500 ("the spec replicas field ... does not
        exist"), while a patch of it works: that is "unset", not an outage.

        Raises:
            ApiError: the target does not exist (404) or the server failed.
            UnknownKindError: the kind cannot be scaled.
        """
        resource = await self._directory.resolve(target)
        try:
            scale = await self._api.get(f"{resource.path(target.namespace, target.name)}/scale")
        except ApiError as error:
            if error.status == 500 and "does not exist" in str(error) and "replicas" in str(error):
                return ScaleState(replicas=None, resource_version=None)
            raise
        metadata = scale.get("metadata", {})
        status = scale.get("status", {})
        # Zero is left out of the answer.
        return ScaleState(
            replicas=int(scale.get("spec", {}).get("replicas", 0)),
            resource_version=metadata.get("resourceVersion"),
            selector=str(status.get("selector", "")),
        )

    async def scale(self, target: TargetRef, replicas: int, *, current: int | None) -> ScaleOutcome:
        """Make `target` have `replicas`; never raises for what the API server answers.

        Args:
            target: what to scale.
            replicas: the count wanted.
            current: the count that the decision was made on; None where the object does not set it yet.
        """
        if replicas < 0:
            raise ValueError(f"{target}: {replicas} replicas make no sense")
        if current == replicas:
            return ScaleOutcome(ScaleResult.UNCHANGED, f"{target} has {replicas} replicas already.")
        wait = self._not_before.get(target, 0.0) - self._clock()
        if wait > 0:
            return ScaleOutcome(
                ScaleResult.THROTTLED, f"{target} waits {wait:.0f} s more: the API server was busy."
            )
        try:
            resource = await self._directory.resolve(target)
            path = f"{resource.path(target.namespace, target.name)}/scale"
            if current is None:
                await self._api.merge_patch(path, {"spec": {"replicas": replicas}})
            else:
                await self._api.json_patch(path, _tested(current, replicas))
        except UnknownKindError as error:
            return ScaleOutcome(ScaleResult.NOT_FOUND, str(error))
        except ApiError as error:
            return self._failure(target, error)
        self._not_before.pop(target, None)
        return ScaleOutcome(ScaleResult.WRITTEN, f"{target} scaled from {current} to {replicas}.")

    def _failure(self, target: TargetRef, error: ApiError) -> ScaleOutcome:
        if error.conflict or error.status == 422:
            return ScaleOutcome(
                ScaleResult.CONFLICT,
                f"{target} was not scaled: its count changed after it was read; decided anew in the next round.",
            )
        if error.throttled:
            self._not_before[target] = self._clock() + (error.retry_after_seconds or 1.0)
            return ScaleOutcome(ScaleResult.THROTTLED, f"{target} waits: the API server is busy.")
        if error.not_found:
            return ScaleOutcome(ScaleResult.NOT_FOUND, f"{target} does not exist; create it.")
        if error.forbidden:
            return ScaleOutcome(
                ScaleResult.FORBIDDEN,
                f"{target} may not be scaled: allow Forebay's service account to patch its `scale` subresource.",
            )
        return ScaleOutcome(ScaleResult.FAILED, f"{target} was not scaled: {error}")


def _tested(current: int, replicas: int) -> list[JsonObject]:
    """Return a JSON patch that sets the count if it is still `current`.

    A Scale leaves out a count of zero, so the test is on the whole of its spec, which has nothing else.
    """
    return [
        {"op": "test", "path": "/spec", "value": {"replicas": current} if current else {}},
        {"op": "add", "path": "/spec/replicas", "value": replicas},
    ]
