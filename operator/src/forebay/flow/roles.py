"""What each role is: one row per role, read by every step that treats roles differently."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from forebay.flow.fleet import Role


class Phase(StrEnum):
    """What a replica computes for a request."""

    PREFILL = "prefill"
    """The prompt, up to the first token: its time decides TTFT."""
    DECODE = "decode"
    """One token per iteration: its time decides ITL."""


class Queue(StrEnum):
    """Where requests wait for a role."""

    PREFILL = "prefill"
    """Before their prefill, gateway queues included."""
    DECODE = "decode"
    """Between their prefill and a decode slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRow:
    """Facts about one role. Its work and its misses are functions in ``sizing``, registered there by role."""

    role: Role
    fed_by: Role | None
    """The role whose results enter; ``None``: requests from outside."""
    feeds: Role | None
    """The role that takes the results; ``None``: answers leave to the client."""
    queue: Queue
    """What stands before it."""
    phases: tuple[Phase, ...]
    """What its replicas compute, and so which objective it decides."""
    letter: str
    """Before its counts in narrow columns; empty where a pool has no other role."""

    @property
    def prefills(self) -> bool:
        """Return whether it decides TTFT."""
        return Phase.PREFILL in self.phases

    @property
    def decodes(self) -> bool:
        """Return whether it decides ITL."""
        return Phase.DECODE in self.phases


ROLES: Mapping[Role, RoleRow] = {
    row.role: row
    for row in (
        RoleRow(
            role=Role.PREFILL,
            fed_by=None,
            feeds=Role.DECODE,
            queue=Queue.PREFILL,
            phases=(Phase.PREFILL,),
            letter="P",
        ),
        RoleRow(
            role=Role.DECODE,
            fed_by=Role.PREFILL,
            feeds=None,
            queue=Queue.DECODE,
            phases=(Phase.DECODE,),
            letter="D",
        ),
        RoleRow(
            role=Role.SERVE,
            fed_by=None,
            feeds=None,
            queue=Queue.PREFILL,
            phases=(Phase.PREFILL, Phase.DECODE),
            letter="",
        ),
    )
}
