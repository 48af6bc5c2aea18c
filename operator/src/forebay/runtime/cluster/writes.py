"""What we wrote to each target last, who has changed it since, and whether that is respected or corrected.

A change through ``/scale`` is a decision: it is left alone for a while, then taken over as if we had made it. A
change in a manifest (Helm, ``kubectl apply``, a GitOps tool, a controller) sets the count as a by-product: it is
corrected at once. Where a manifest comes back again and again, each correction would start and kill pods, so
after some reversions the target is left alone for a while that doubles each time, and its owner is named.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from forebay.actuation.conflicts import Way, Writer
from forebay.actuation.kube import FIELD_MANAGER
from forebay.actuation.targets import TargetRef
from forebay.runtime.watch.workloads import WorkloadRecord

_MOST_REVERSIONS = 3
_REVERSION_MEMORY_SECONDS = 1800.0
"""Reversions that are farther apart are single events, such as upgrades."""
_LONGEST_WINDOW_SECONDS = 7200.0
_MOST_TOLD_REVERSIONS = 100
"""More are not taken over from a status: the window has been at its longest for long."""
_UNKNOWN = Writer("somebody", Way.DECISION)
"""Who wrote where the object does not tell: while no manifest has ever had the count, Kubernetes does not note who
writes it through ``/scale``. Only such a write can change it then."""


@dataclass(frozen=True, slots=True)
class LastWrite:
    """The replicas that we last wrote to a target, or took over, and the target's version before that."""

    replicas: int
    version_before: str = ""
    at_seconds: float | None = None
    """When; unknown for what an earlier process wrote long ago."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that another writer did to a target."""

    code: str
    message: str
    hands_off: bool
    """Whether the target is left alone because of it."""


@dataclass(slots=True)
class Reversions:
    """How often a manifest has set back what we wrote."""

    at_seconds: list[float] = field(default_factory=list)
    version: str = ""
    """Of the target when the newest was seen."""
    left_alone_until_seconds: float = 0.0
    window_seconds: float = 0.0


@dataclass(slots=True)
class Writes:
    """The last write to each target.

    Args:
        conflict_window_seconds: how long another writer's decision is left alone.
        manager: the field manager under which this release writes.
    """

    conflict_window_seconds: float = 600.0
    manager: str = FIELD_MANAGER
    last: dict[TargetRef, LastWrite] = field(default_factory=dict)
    _decided: dict[TargetRef, tuple[str, int, float]] = field(default_factory=dict)
    """Who last decided otherwise, on what count, and since when that was seen."""
    reversions: dict[TargetRef, Reversions] = field(default_factory=dict)

    def recall(self, target: TargetRef, replicas: object, at_seconds: float | None = None) -> None:
        """Take over what an earlier process left in a status, unless more is known."""
        if target not in self.last and isinstance(replicas, int):
            self.last[target] = LastWrite(replicas, at_seconds=at_seconds)

    def recall_reversions(self, target: TargetRef, count: int, until_seconds: float, at_seconds: float) -> None:
        """Take over how often an earlier process saw a target set back, unless more is known."""
        count = min(count, _MOST_TOLD_REVERSIONS)
        if count > 0 and target not in self.reversions:
            window = self.conflict_window_seconds * 2.0 ** (count - _MOST_REVERSIONS)
            self.reversions[target] = Reversions(
                at_seconds=[at_seconds] * count,
                left_alone_until_seconds=until_seconds,
                window_seconds=min(_LONGEST_WINDOW_SECONDS, window) if count >= _MOST_REVERSIONS else 0.0,
            )

    def ordered_seconds(self, workload: WorkloadRecord) -> float | None:
        """Return when the count that stands now was written, if it was by us and is known."""
        written = self.last.get(workload.target)
        return written.at_seconds if written is not None and written.replicas == workload.replicas else None

    def is_unseen(self, workload: WorkloadRecord) -> bool:
        """Whether the cache has not seen our own last write to a target yet."""
        written = self.last.get(workload.target)
        return written is not None and workload.resource_version == written.version_before

    def judge(self, workload: WorkloadRecord, now_seconds: float) -> Finding | None:
        """Return what another writer did to a target, and whether the target is left alone."""
        target, written = workload.target, self.last.get(workload.target)
        if self.is_unseen(workload):
            return None
        if any(each.manager == self.manager for each in workload.writers):
            # A takeover is over once we own the field again: the next decision of the same kind is a new one.
            self._decided.pop(target, None)
            return None
        if not workload.writers and (written is None or not written.version_before):
            return None
        writer = workload.writers[0] if workload.writers else _UNKNOWN
        if writer.is_forebay:
            return _other_release(workload, writer)
        if written is None or workload.replicas == written.replicas:
            return None
        if writer.way is Way.DECISION:
            return self._respected(workload, writer, written, now_seconds)
        return self._corrected(workload, writer, written, now_seconds)

    def keep_only(self, targets: Collection[TargetRef]) -> None:
        """Forget what belongs to targets that are gone."""
        self.last = {key: value for key, value in self.last.items() if key in targets}
        self._decided = {key: value for key, value in self._decided.items() if key in targets}
        self.reversions = {key: value for key, value in self.reversions.items() if key in targets}

    def _respected(
        self, workload: WorkloadRecord, writer: Writer, written: LastWrite, now_seconds: float
    ) -> Finding | None:
        """Leave a decision alone for the window, then take it over."""
        target = workload.target
        seen = self._decided.get(target)
        if seen is None or seen[:2] != (writer.manager, workload.replicas):
            seen = self._decided[target] = (writer.manager, workload.replicas, now_seconds)
        end = seen[2] + self.conflict_window_seconds
        if now_seconds < end:
            message = f"{_did(workload, writer, written)}; left alone until {_clock_time(end)}."
            return Finding("OtherWriter", message, hands_off=True)
        self.last[target] = LastWrite(workload.replicas, at_seconds=seen[2])
        self._decided.pop(target)
        return None

    def _corrected(
        self, workload: WorkloadRecord, writer: Writer, written: LastWrite, now_seconds: float
    ) -> Finding:
        """Count a reversion; the decision goes on from what the manifest left, unless there were too many."""
        found = self.reversions.setdefault(workload.target, Reversions())
        if found.version != workload.resource_version and now_seconds >= found.left_alone_until_seconds:
            found.version = workload.resource_version
            since = now_seconds - max(_REVERSION_MEMORY_SECONDS, 2.0 * found.window_seconds)
            found.at_seconds = [*(at for at in found.at_seconds if at > since), now_seconds]
            if len(found.at_seconds) == 1:
                found.window_seconds = 0.0
            if len(found.at_seconds) >= _MOST_REVERSIONS:
                doubled = max(self.conflict_window_seconds, 2.0 * found.window_seconds)
                found.window_seconds = min(_LONGEST_WINDOW_SECONDS, doubled)
                found.left_alone_until_seconds = now_seconds + found.window_seconds
        did = _did(workload, writer, written)
        advice = f"leave spec.replicas out of what {writer.manager} applies, or have it ignored (docs/gitops.md)"
        if now_seconds < found.left_alone_until_seconds:
            times = len(found.at_seconds)
            message = (
                f"{did}, {times} times by now; left alone until {_clock_time(found.left_alone_until_seconds)}:"
                f" {advice}."
            )
            return Finding("RevertedTooOften", message, hands_off=True)
        return Finding("Reverted", f"{did}; corrected: {advice}.", hands_off=False)


def _other_release(workload: WorkloadRecord, writer: Writer) -> Finding:
    """Another release of Forebay has set the count: the one that wrote first keeps the target."""
    name = f"{workload.target.kind} {workload.target.name}"
    message = (
        f"another release of Forebay ({writer.manager}) scales {name}: take it out of one of the two pools, or run"
        " kubectl scale once if that release is gone."
    )
    return Finding("SharedTarget", message, hands_off=True)


def _did(workload: WorkloadRecord, writer: Writer, written: LastWrite) -> str:
    target = workload.target
    return (
        f"{writer.manager} set {target.kind} {target.name} to {workload.replicas} replicas (Forebay wanted"
        f" {written.replicas})"
    )


def _clock_time(unix_seconds: float) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, tz=UTC):%H:%M:%S} UTC"
