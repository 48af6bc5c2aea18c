"""What we wrote to each target last, and who has changed it since: told from our own writes across restarts."""

from collections.abc import Collection
from dataclasses import dataclass, field

from forebay.actuation.conflicts import writer_conflict
from forebay.actuation.kube import FIELD_MANAGER
from forebay.actuation.targets import TargetRef
from forebay.runtime.watch.records import WorkloadRecord


@dataclass(frozen=True, slots=True)
class LastWrite:
    """The replicas that we last wrote to a target, or took over, and the target's version before that."""

    replicas: int
    version_before: str = ""


@dataclass(slots=True)
class Writes:
    """The last write to each target.

    Args:
        conflict_window_seconds: how long another writer's change is left alone.
    """

    conflict_window_seconds: float = 600.0
    last: dict[TargetRef, LastWrite] = field(default_factory=dict)
    _foreign: dict[TargetRef, tuple[str | None, int, float]] = field(default_factory=dict)
    """Who last changed what we wrote, to what, and since when that was seen."""

    def recall(self, target: TargetRef, replicas: object) -> None:
        """Take over what an earlier process left in a status, unless more is known."""
        if target not in self.last and isinstance(replicas, int):
            self.last[target] = LastWrite(replicas)

    def foreign(self, workload: WorkloadRecord, now_seconds: float) -> str | None:
        """Return a sentence while somebody else's change of what we wrote is left alone; then it is taken over."""
        target, written = workload.target, self.last.get(workload.target)
        if written is None or workload.resource_version == written.version_before:
            # Never written; or the cache has not seen our own write yet.
            return None
        if workload.owner in {None, FIELD_MANAGER} or workload.replicas == written.replicas:
            return None
        seen = self._foreign.get(target)
        if seen is None or seen[:2] != (workload.owner, workload.replicas):
            seen = self._foreign[target] = (workload.owner, workload.replicas, now_seconds)
        conflict = writer_conflict(
            target,
            replicas=workload.replicas,
            owner=workload.owner,
            last_written=written.replicas,
            since_seconds=seen[2],
            now_seconds=now_seconds,
            window_seconds=self.conflict_window_seconds,
        )
        if conflict is None:
            self.last[target] = LastWrite(workload.replicas)
        return conflict

    def keep_only(self, targets: Collection[TargetRef]) -> None:
        """Forget what belongs to targets that are gone."""
        self.last = {key: value for key, value in self.last.items() if key in targets}
        self._foreign = {key: value for key, value in self._foreign.items() if key in targets}
