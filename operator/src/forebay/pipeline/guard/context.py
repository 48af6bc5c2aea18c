"""What guards look at, and the words in which they speak."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from forebay.flow.decision import Reason, ReasonCode, Step
from forebay.flow.fleet import Pool, Role, VariantKey
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.size.supply import Supply

Counts = dict[VariantKey, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardContext:
    """What the guards look at."""

    pool: Pool
    memory: PoolMemory
    supplies: Mapping[VariantKey, Supply]
    held: frozenset[Role]
    """Roles that may not release."""
    queued: frozenset[Role]
    """Roles before which requests queue: their scale-out is never refused."""
    unknown: frozenset[Role] = frozenset()
    """Roles of which nobody knows yet what a replica sustains."""
    release_need: Mapping[Role, float] = field(default_factory=dict)
    """Reference replicas that must serve now, whatever is on its way."""
    speed: Mapping[VariantKey, float] = field(default_factory=dict)
    """Capacity of one replica of each variant in reference replicas."""
    limited: bool = False
    """Whether stock, budget or power kept the pool from what it would buy."""
    at_seconds: float

    def current(self, role: Role) -> int:
        """Return the replicas that the role's targets are set to."""
        return sum(self.supplies[v.key].desired for v in self.pool.of_role(role))


Guard = Callable[[GuardContext, Counts], tuple[Counts, list[Reason]]]


def guard_reason(code: ReasonCode, message: str, role: Role | None, *, changed: bool) -> Reason:
    """Return the reason of one guard."""
    return Reason(step=Step.GUARD, code=code, message=message, changed=changed, role=role)
