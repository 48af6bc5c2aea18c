"""Read scale targets of kinds that are not watched: one GET of the object and one of its `/scale` per round.

Those are kinds that Forebay has no row for (``forebay.flow.kinds``).
"""

import asyncio
import logging

from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.scale import ScaleWriter
from forebay.actuation.targets import TargetDirectory, TargetRef, UnknownKindError
from forebay.runtime.cluster.roster import Roster
from forebay.runtime.watch.kinds import watched_kind
from forebay.runtime.watch.workloads import WorkloadRecord, workload_record

logger = logging.getLogger(__name__)


class TargetReader:
    """Reads whatever has a `/scale`.

    What an API server that is busy or ill does not answer is no news of the target: its last record stays, as a
    watched target's does in the cache. Else one bad answer would count its capacity as none, and others would be
    ordered in its place.
    """

    def __init__(self, api: KubeApi, directory: TargetDirectory, scales: ScaleWriter) -> None:
        self._api = api
        self._directory = directory
        self._scales = scales
        self._last: dict[TargetRef, WorkloadRecord] = {}
        self._unread: set[TargetRef] = set()
        """Targets whose last record stands in for an answer now: each outage is logged once."""

    async def read(self, roster: Roster) -> dict[TargetRef, WorkloadRecord | str]:
        """Return every unwatched target of the roster, or a sentence that says why it cannot be used."""
        targets = sorted(
            {
                target
                for entry in roster.pools.values()
                for target in entry.targets.values()
                if watched_kind(target.api_version, target.kind) is None
            }
        )
        answers = dict(zip(targets, await asyncio.gather(*map(self._answer, targets)), strict=True))
        self._last = {target: answer for target, answer in answers.items() if isinstance(answer, WorkloadRecord)}
        self._unread &= self._last.keys()
        return answers

    async def _answer(self, target: TargetRef) -> WorkloadRecord | str:
        try:
            record = await self._read(target)
        except UnknownKindError as error:
            return str(error)
        except ApiError as error:
            if error.not_found:
                return f"{target.kind} {target.name} does not exist: create it."
            if error.forbidden:
                return f"{target.kind} {target.name} may not be read: allow get on it and on its /scale."
            last = self._last.get(target) if error.passing else None
            if last is not None and target not in self._unread:
                self._unread.add(target)
                logger.warning("%s could not be read, so that its last record stands in: %s", target, error)
            return last or f"{target.kind} {target.name} could not be read: {error}"
        self._unread.discard(target)
        return record

    async def _read(self, target: TargetRef) -> WorkloadRecord:
        resource = await self._directory.resolve(target)
        scale = await self._scales.read(target)
        body = await self._api.get(resource.path(target.namespace, target.name))
        return workload_record(
            target,
            body,
            row=None,
            replicas=scale.replicas,
            resource_version=scale.resource_version or "",
            selector=scale.selector,
        )
