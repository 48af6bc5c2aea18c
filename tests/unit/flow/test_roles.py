"""Every role has a row, and every row the functions that work by role."""

import numpy as np
import pytest

from forebay.flow.fleet import Role, Slo
from forebay.flow.roles import ROLES
from forebay.sizing.queueing import miss_share
from forebay.sizing.work import Correction, replica_work
from tests.unit.sizing.test_buckets import FAST, LENGTHS


@pytest.mark.parametrize("role", list(Role))
def test_every_role_has_its_row_and_its_work(role: Role) -> None:
    assert ROLES[role].role is role
    slo = Slo(ttft_seconds=0.5, itl_seconds=0.025)
    work = replica_work(FAST, Correction(), LENGTHS, slo)
    assert work.seconds(role) > 0.0
    assert 0.0 <= miss_share(role, np.array([5.0]), np.array([[4.0]]), work, slo).item() <= 1.0


def test_what_a_role_feeds_is_fed_by_it() -> None:
    for row in ROLES.values():
        if row.feeds is not None:
            assert ROLES[row.feeds].fed_by is row.role
    letters = [row.letter for row in ROLES.values()]
    assert len(set(letters)) == len(letters)


def test_no_role_is_taken_for_another() -> None:
    """Protects: a role without its own function fails instead of being sized as serve."""
    slo = Slo(ttft_seconds=0.5, itl_seconds=0.025)
    work = replica_work(FAST, Correction(), LENGTHS, slo)
    with pytest.raises(KeyError):
        work.seconds("nobody")  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        miss_share("nobody", np.array([5.0]), np.array([[4.0]]), work, slo)  # type: ignore[arg-type]
