"""When replicas were ordered that their controller has not made yet: everything that will come has a beginning."""

from collections.abc import Collection
from dataclasses import dataclass, field

from forebay.actuation.targets import TargetRef


@dataclass(slots=True)
class UnbornReplicas:
    """The order times of replicas without a pod, by target.

    A replica is dated from the order that asked for it. What is first seen after a restart is dated from the last
    write that the pool's status tells of, where that is the order that still stands.
    """

    _ordered: dict[TargetRef, list[float]] = field(default_factory=dict)

    def see(
        self, target: TargetRef, count: int, *, ordered_seconds: float | None, now_seconds: float
    ) -> tuple[float, ...]:
        """Return since when each of ``count`` replicas is awaited, the longest first.

        Args:
            target: whose replicas.
            count: replicas that are wanted and have no pod.
            ordered_seconds: when the count that stands was written, where that is known.
            now_seconds: Unix time.
        """
        if count == 0:
            self._ordered.pop(target, None)
            return ()
        ordered = self._ordered.setdefault(target, [])
        if len(ordered) > count:
            # Those that waited longest have come first.
            del ordered[: len(ordered) - count]
        since = now_seconds if ordered_seconds is None else min(ordered_seconds, now_seconds)
        ordered += [max(since, ordered[-1]) if ordered else since] * (count - len(ordered))
        return tuple(ordered)

    def keep_only(self, targets: Collection[TargetRef]) -> None:
        """Forget targets that are gone."""
        self._ordered = {key: value for key, value in self._ordered.items() if key in targets}
