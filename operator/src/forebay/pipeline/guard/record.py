"""What became of the decisions: how often targets were changed, and which starts were taken back."""

from collections.abc import Iterable

from forebay.pipeline.guard.context import GuardContext
from forebay.pipeline.remember.memory import PoolMemory

_HOUR_SECONDS = 3600.0


def in_last_hour(times: Iterable[float], now: float) -> list[float]:
    """Return those of some times that are not older than an hour."""
    return [at_seconds for at_seconds in times if now - at_seconds < _HOUR_SECONDS]


def actions_in_last_hour(memory: PoolMemory, now: float) -> int:
    """Return how often targets were changed, those of roles that the pool no longer has included."""
    return sum(len(in_last_hour(times, now)) for times in memory.actions.values())


def note_changes(context: GuardContext) -> None:
    """Note which targets have changed since the last round: a wish that nobody carried out is no action."""
    memory, now = context.memory, context.at_seconds
    cancelled = 0
    for role in context.pool.roles:
        supplies = {v.key: context.supplies[v.key] for v in context.pool.of_role(role)}
        recent = in_last_hour(memory.actions.get(role, []), now)
        lowered = {name: memory.targets.get(name, s.desired) - s.desired for name, s in supplies.items()}
        if any(lowered.values()):
            recent.append(now)
        memory.actions[role] = recent
        cancelled += sum(min(memory.starting.get(name, 0), max(0, less)) for name, less in lowered.items())
        memory.targets.update({name: supply.desired for name, supply in supplies.items()})
        memory.starting.update({name: max(0, supply.live - supply.ready) for name, supply in supplies.items()})
    memory.cancelled = [*in_last_hour(memory.cancelled, now), *[now] * cancelled]
