"""Whether the caches still follow the cluster: what the API server had and no watch has told since.

A watch can stop telling without failing: kopf tries one that is refused (403), throttled or answered by errors
again and again, for ever. Its cache looks whole, and is decided on, until somebody compares it with the server.

An object that the server shows in another version than the cache has is no proof: its news may be on the way. It
is one when the cache still has the old version at the next comparison, and no watch of that kind has told anything
at all in the meantime. Neither a slow list nor the usual lag of a watch can look like this.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from forebay.actuation.kube import ApiError
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import ObjectKey, Seen

_PATIENCE_SECONDS = 240.0
"""A little less than lies between two comparisons by default, so that the second one tells."""
_FAILURES = 2
"""Lists that fail in a row before anything is said: one may be slow."""

Place = tuple[Kind, str | None]
"""A kind and the namespace where it is listed and watched; ``None`` stands for the whole cluster."""


class StaleCachesError(Exception):
    """The caches are too old to decide on; the text says which and why."""


@dataclass(frozen=True, slots=True)
class _Debt:
    """News that the server had for us."""

    had: Seen | None
    """What the cache had of the object instead."""
    told: int
    """How much the watches of the place had told by then."""
    since_seconds: float


@dataclass(slots=True)
class _Failure:
    """Lists of a place that failed in a row."""

    error: ApiError
    since_seconds: float
    count: int = 1


@dataclass(slots=True)
class Staleness:
    """What comparisons of the caches with the API server found, by place. Times by ``clock``, in seconds."""

    clock: Callable[[], float]
    _debts: dict[Place, dict[ObjectKey, _Debt]] = field(default_factory=dict)
    _oldest: dict[Place, float] = field(default_factory=dict)
    """Age of the oldest debt in seconds, as of the last comparison; none for places that could not be listed."""
    _failures: dict[Place, _Failure] = field(default_factory=dict)

    def compared(
        self,
        place: Place,
        before: Mapping[ObjectKey, Seen],
        listed: Mapping[ObjectKey, Seen],
        after: Mapping[ObjectKey, Seen],
        told: int,
    ) -> None:
        """Take note of a list, and of what the cache had before it was asked for and after it came.

        What changed in the cache meanwhile may be newer than the list; ``told`` counts what watches ever told.
        """
        self._failures.pop(place, None)
        earlier, now = self._debts.get(place, {}), self.clock()
        debts: dict[ObjectKey, _Debt] = {}
        for key, shown in listed.items():
            had = after.get(key)
            if had == shown or had != before.get(key):
                continue
            old = earlier.get(key)
            still = old is not None and (old.had, old.told) == (had, told)
            debts[key] = old if old is not None and still else _Debt(had, told, now)
        self._debts[place] = debts
        self._oldest[place] = now - min((debt.since_seconds for debt in debts.values()), default=now)

    def failed(self, place: Place, error: ApiError) -> None:
        """Take note of a list that failed."""
        self._oldest.pop(place, None)
        failure = self._failures.get(place)
        if failure is None:
            self._failures[place] = _Failure(error, self.clock())
            return
        failure.error = error
        failure.count += 1

    @property
    def silent(self) -> tuple[str, ...]:
        """Watches that have told nothing for minutes although there was news, a sentence each."""
        return tuple(
            f"no watch has told anything of {_name(place)} for {seconds:.0f} s, though"
            f" {len(self._debts[place])} of them changed; check that Forebay's service account may watch them"
            for place, seconds in self._oldest.items()
            if seconds >= _PATIENCE_SECONDS
        )

    @property
    def refused(self) -> tuple[str, ...]:
        """Kinds that may not be listed any more wherever they are watched, a sentence each."""
        doubtful = self._doubtful()
        places: dict[Kind, list[Place]] = {}
        for place in self._debts.keys() | self._failures.keys():
            places.setdefault(place[0], []).append(place)
        return tuple(
            f"{kind.value} may not be read any more: {doubtful[mine[0]].error}"
            for kind, mine in sorted(places.items())
            if all(place in doubtful and doubtful[place].error.forbidden for place in mine)
        )

    @property
    def unread(self) -> tuple[str, ...]:
        """Places that could not be listed for minutes, a sentence each."""
        now = self.clock()
        return tuple(
            f"{_name(place)} could not be compared for {now - failure.since_seconds:.0f} s: {failure.error}"
            for place, failure in self._doubtful().items()
        )

    def _doubtful(self) -> dict[Place, _Failure]:
        now = self.clock()
        return {
            place: failure
            for place, failure in self._failures.items()
            if failure.count >= _FAILURES and now - failure.since_seconds >= _PATIENCE_SECONDS
        }


def _name(place: Place) -> str:
    kind, namespace = place
    return kind.value if namespace is None else f"{kind.value} in {namespace}"
