"""One pool between sizing and planning: its roles, and which of them may not release now."""

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.decision import Reason, ReasonCode
from forebay.flow.fleet import Pool, Role
from forebay.pipeline.size.holding import ReleaseContext, release_reasons
from forebay.pipeline.size.pool_basis import PoolBasis
from forebay.pipeline.size.role_draft import RoleDraft, ordered_together, role_draft, role_sizes
from forebay.pipeline.size.sizing_reasons import sizing_reasons
from forebay.sizing.curve import Curves


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDraft:
    """One pool between sizing and planning."""

    basis: PoolBasis
    roles: Mapping[Role, RoleDraft]
    held: frozenset[Role]
    """Roles that may not release."""
    yielding: frozenset[Role] = frozenset()
    """Of these, roles held for their queue only: they yield GPUs to pools of higher priority."""

    @property
    def pool(self) -> Pool:
        """Return the pool as its user wants it."""
        return self.basis.pool


def pool_draft(basis: PoolBasis, found: Mapping[int, Curves]) -> tuple[PoolDraft, list[Reason]]:
    """Size every role of one pool, and tell which of them may not release now."""
    reasons = list(basis.reasons)
    roles: dict[Role, RoleDraft] = {}
    held, queueing = set(), set()
    for role, size in role_sizes(basis, found).items():
        holding = release_reasons(ReleaseContext(pool=basis, role=size))
        if holding or basis.lost:
            held.add(role)
        if not basis.lost and all(reason.code is ReasonCode.QUEUE_STANDS for reason in holding):
            queueing.add(role)
        roles[role] = role_draft(basis, size, held=role in held)
        if roles[role].holds_back:
            reasons.extend(holding)
    roles = ordered_together(roles, basis.memory)
    draft = PoolDraft(basis=basis, roles=roles, held=frozenset(held), yielding=frozenset(held & queueing))
    return draft, [*([basis.lost] if basis.lost else []), *sizing_reasons(draft.roles), *reasons]
