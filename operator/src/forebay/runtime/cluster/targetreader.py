"""Read scale targets of kinds that are not watched: one GET of the object and one of its `/scale` per round."""

import asyncio

from forebay.actuation.conflicts import replica_owner
from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.scale import ScaleWriter
from forebay.actuation.targets import TargetDirectory, TargetRef, UnknownKindError
from forebay.runtime.cluster.roster import Roster
from forebay.runtime.watch.records import WorkloadRecord


class TargetReader:
    """Reads LeaderWorkerSets, scaling adapters and whatever else has a `/scale`."""

    def __init__(self, api: KubeApi, directory: TargetDirectory, scales: ScaleWriter) -> None:
        self._api = api
        self._directory = directory
        self._scales = scales

    async def read(self, roster: Roster) -> dict[TargetRef, WorkloadRecord | str]:
        """Return every unwatched target of the roster, or a sentence that says why it cannot be used."""
        targets = sorted(
            {target for entry in roster.pools.values() for target in entry.targets.values() if not target.watched}
        )
        answers = await asyncio.gather(*(self._read(target) for target in targets))
        return dict(zip(targets, answers, strict=True))

    async def _read(self, target: TargetRef) -> WorkloadRecord | str:
        try:
            resource = await self._directory.resolve(target)
            scale = await self._scales.read(target)
            body = await self._api.get(resource.path(target.namespace, target.name))
        except UnknownKindError as error:
            return str(error)
        except ApiError as error:
            if error.not_found:
                return f"{target.kind} {target.name} does not exist: create it."
            if error.forbidden:
                return f"{target.kind} {target.name} may not be read: allow get on it and on its /scale."
            return f"{target.kind} {target.name} could not be read: {error}"
        metadata = body["metadata"]
        labels, has_expressions = parse_selector(scale.selector)
        return WorkloadRecord(
            target=target,
            uid=str(metadata["uid"]),
            resource_version=scale.resource_version or "",
            replicas=scale.replicas or 0,
            match_labels=labels,
            has_expressions=has_expressions,
            owner=replica_owner(metadata.get("managedFields") or ()),
        )


def parse_selector(selector: str) -> tuple[dict[str, str], bool]:
    """Return the labels of a serialised selector, and whether it has more than labels."""
    labels: dict[str, str] = {}
    more = False
    for part in filter(None, (part.strip() for part in selector.split(","))):
        key, equals, value = part.partition("=")
        if not equals or key.endswith("!") or " " in key:
            more = True
        else:
            labels[key] = value.removeprefix("=")
    return labels, more
