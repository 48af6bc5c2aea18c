"""The numbers of a status before they are worded: compared as numbers, so that breathing ones cause no write."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.sizing.budget import WINDOWS


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a number may drift before that is news."""

    relative: float = 0.1
    least: float = 0.05


_USUAL = Tolerance()
#: What is estimated goes on settling for hours under constant traffic; shares are told to the half per cent.
_TOLERANCES: Mapping[str, Tolerance] = {
    "demand": Tolerance(relative=0.2),
    "ahead": Tolerance(relative=0.25),
    "p50": Tolerance(relative=0.25),
    "p90": Tolerance(relative=0.25),
    "p99": Tolerance(relative=0.25),
    "skill": Tolerance(relative=0.5),
    **dict.fromkeys(("sloAttainment", *(f"met{name}" for name in WINDOWS)), Tolerance(relative=0.0, least=0.005)),
    **dict.fromkeys((f"burnRate{name}" for name in WINDOWS), Tolerance(relative=0.25, least=0.2)),
    "sloRequests": Tolerance(relative=0.5, least=1000.0),
    "actionsLastHour": Tolerance(relative=0.5, least=2.0),
    "cancelledLastHour": Tolerance(relative=0.0, least=0.5),
    "errorBudgetLeft": Tolerance(relative=0.1, least=0.05),
    "leadTime": Tolerance(relative=0.1, least=5.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a status says besides where things stand: numbers by name, and what its sentences are about."""

    numbers: Mapping[str, float | None] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()

    def differ_from(self, told: "Figures") -> bool:
        """Whether this is news to a reader of what was told last."""
        if self.subjects != told.subjects or self.numbers.keys() != told.numbers.keys():
            return True
        return any(_differ(name, value, told.numbers[name]) for name, value in self.numbers.items())


def _differ(name: str, new: float | None, old: float | None) -> bool:
    if new is None or old is None:
        return new is not old
    tolerance = _TOLERANCES.get(name, _USUAL)
    return abs(new - old) > max(tolerance.least, tolerance.relative * max(abs(new), abs(old)))
