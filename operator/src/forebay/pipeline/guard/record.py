"""What became of the decisions: how often targets were changed, and which starts were taken back."""

from forebay.pipeline.guard.context import GuardContext

_HOUR_SECONDS = 3600.0


def note_changes(context: GuardContext) -> None:
    """Note which targets have changed since the last round: a wish that nobody carried out is no action."""
    memory, now = context.memory, context.at_seconds
    cancelled = 0
    for role in context.pool.roles:
        supplies = {v.key: context.supplies[v.key] for v in context.pool.of_role(role)}
        recent = [t for t in memory.actions.get(role, []) if now - t < _HOUR_SECONDS]
        lowered = {name: memory.targets.get(name, s.desired) - s.desired for name, s in supplies.items()}
        if any(lowered.values()):
            recent.append(now)
        memory.actions[role] = recent
        cancelled += sum(min(memory.starting.get(name, 0), max(0, less)) for name, less in lowered.items())
        memory.targets.update({name: supply.desired for name, supply in supplies.items()})
        memory.starting.update({name: max(0, supply.live - supply.ready) for name, supply in supplies.items()})
    memory.cancelled = [*(t for t in memory.cancelled if now - t < _HOUR_SECONDS), *[now] * cancelled]
