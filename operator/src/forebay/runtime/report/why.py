"""Which of a decision's reasons a person should read first, and its words for a column."""

from forebay.flow.decision import PoolDecision, Reason, ReasonCode
from forebay.flow.fleet import Role
from forebay.flow.observation import PoolObservation


def main_reason(decision: PoolDecision) -> Reason | None:
    """Return what a person should read first: the last step that changed the number, else the last that spoke."""
    return _first_to_read(list(decision.reasons))


def reason_of_role(decision: PoolDecision, role: Role) -> Reason | None:
    """Return the same of one role: limits of the whole pool count where the role itself says nothing."""
    own = [reason for reason in decision.reasons if reason.role is role]
    pools = [
        reason for reason in decision.reasons if reason.role is None and reason.code is not ReasonCode.LIMITED
    ]
    return _first_to_read([*pools, *own])


def short_why(reason: Reason, observed: PoolObservation) -> str:
    """Return a reason for a column, such as ``decode needs 2 (0.6 busy + headroom), has 1``."""
    busy, needed = reason.numbers.get("erlangs"), reason.numbers.get("wanted", reason.numbers.get("order"))
    if reason.code is not ReasonCode.SIZED or reason.role is None or busy is None or needed is None:
        return reason.message
    variants = [variant for variant in observed.variants if variant.role is reason.role]
    # Over several types the need is counted in replicas of the first one.
    unit = f" in {variants[0].name} equivalents" if len(variants) > 1 else ""
    has = " + ".join(f"{variant.supply}{f' {variant.name}' if unit else ''}" for variant in variants)
    return f"{reason.role.value} needs {needed:.3g}{unit} ({busy:.1f} busy + headroom), has {has}"


def change_words(decision: PoolDecision) -> tuple[str, ...]:
    """Return what changes, such as ``prefill/h100 3 -> 4``."""
    return tuple(
        f"{variant.role.value}/{variant.name} {variant.current} -> {variant.desired}"
        for variant in decision.variants
        if variant.desired != variant.current
    )


def _first_to_read(reasons: list[Reason]) -> Reason | None:
    spoke = [reason for reason in reasons if reason.changed] or reasons
    return spoke[-1] if spoke else None
