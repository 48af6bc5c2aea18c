"""Each guard on its own: what it changes, what it leaves, and that it says so."""

from dataclasses import replace
from typing import Any

import pytest

from forebay.flow.fleet import Pool, RatioBand, Role
from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.pipeline.guards import (
    Counts,
    Guard,
    GuardContext,
    explore_with_care,
    guarded,
    keep_overdue_orders,
    keep_ratio,
    leave_frozen,
    limit_actions,
    limit_steps,
    make_before_break,
    never_release_held,
    one_direction,
    pause_scale_out,
    within_limits,
)
from forebay.pipeline.memory import PoolMemory
from forebay.pipeline.supply import Supply
from tests.unit.pipeline.fleets import split_pool, variant

SETTINGS = PolicySettings()
TWO_TYPES = (variant(Role.PREFILL, "a"), variant(Role.PREFILL, "b", min_replicas=0), variant(Role.DECODE, "d"))


def _context(
    current: Counts,
    *,
    pool: Pool | None = None,
    settings: PolicySettings = SETTINGS,
    held: frozenset[Role] = frozenset(),
    queued: frozenset[Role] = frozenset(),
    actions: dict[Role, list[float]] | None = None,
    supplies: dict[str, Supply] | None = None,
    unknown: frozenset[Role] = frozenset(),
    **changes: Any,
) -> GuardContext:
    memory = PoolMemory(forecaster=Forecaster(settings))
    memory.actions = actions or {}
    pool = pool or split_pool(variants=TWO_TYPES, settings=settings, **changes)
    plain = {name: Supply(count, count, count, 0) for name, count in current.items()}
    return GuardContext(
        pool=pool,
        memory=memory,
        supplies={**plain, **(supplies or {})},
        held=held,
        queued=queued,
        unknown=unknown,
        at_seconds=10_000.0,
    )


def _check(guard: Guard, context: GuardContext, planned: Counts, expected: Counts, code: str | None) -> None:
    got, reasons = guard(context, planned)
    assert got == expected
    assert [reason.code for reason in reasons] == ([] if code is None else [code])
    if code is not None:
        assert reasons[0].changed == (got != planned)


HAVE = {"a": 5, "b": 0, "d": 4}


@pytest.mark.parametrize("guard", [never_release_held, one_direction, keep_ratio, limit_steps, limit_actions])
def test_a_guard_with_nothing_to_guard_is_silent(guard: Guard) -> None:
    _check(guard, _context(HAVE), {"a": 6, "b": 1, "d": 5}, {"a": 6, "b": 1, "d": 5}, None)


def test_a_held_role_releases_nothing_and_the_other_role_may() -> None:
    context = _context(HAVE, held=frozenset({Role.PREFILL}))
    _check(never_release_held, context, {"a": 3, "b": 1, "d": 2}, {"a": 5, "b": 1, "d": 2}, "ReleaseHeld")


def test_replacement_comes_before_release() -> None:
    _check(one_direction, _context(HAVE), {"a": 2, "b": 2, "d": 3}, {"a": 5, "b": 2, "d": 3}, "OneDirection")


@pytest.mark.parametrize(
    ("planned", "expected", "code"),
    [
        ({"a": 2, "b": 0, "d": 8}, {"a": 4, "b": 0, "d": 8}, "RatioBand"),
        ({"a": 9, "b": 0, "d": 2}, {"a": 9, "b": 0, "d": 3}, "RatioBand"),
        ({"a": 6, "b": 0, "d": 4}, {"a": 6, "b": 0, "d": 4}, None),
    ],
    ids=["prefill deficient", "decode deficient", "within"],
)
def test_the_deficient_role_is_raised_into_the_band(planned: Counts, expected: Counts, code: str | None) -> None:
    context = _context(HAVE, prefill_to_decode=RatioBand(lowest=0.5, highest=3.0))
    _check(keep_ratio, context, planned, expected, code)


def test_the_band_says_when_a_limit_is_in_its_way() -> None:
    pool = split_pool(
        variants=(variant(Role.PREFILL, "a", max_replicas=3), variant(Role.DECODE, "d")),
        prefill_to_decode=RatioBand(lowest=1.0, highest=2.0),
    )
    got, reasons = keep_ratio(_context({"a": 2, "d": 6}, pool=pool), {"a": 2, "d": 6})
    assert got == {"a": 3, "d": 6}
    assert "limits allow 3" in reasons[0].message


def test_steps_are_limited_per_role_and_direction() -> None:
    settings = PolicySettings(max_scale_out_step=2, max_scale_in_step=1)
    context = _context(HAVE, settings=settings)
    _check(limit_steps, context, {"a": 8, "b": 4, "d": 4}, {"a": 7, "b": 0, "d": 4}, "StepLimit")
    _check(limit_steps, context, {"a": 5, "b": 0, "d": 1}, {"a": 5, "b": 0, "d": 3}, "StepLimit")


def test_an_action_budget_is_spent_per_hour_but_a_queue_is_answered() -> None:
    settings = PolicySettings(actions_per_hour=2)
    recent = {Role.PREFILL: [7000.0, 9000.0]}
    context = _context(HAVE, settings=settings, actions=recent)
    _check(limit_actions, context, {"a": 7, "b": 0, "d": 5}, {"a": 5, "b": 0, "d": 5}, "ActionBudgetSpent")
    queued = _context(HAVE, settings=settings, actions=recent, queued=frozenset({Role.PREFILL}))
    _check(limit_actions, queued, {"a": 7, "b": 0, "d": 4}, {"a": 7, "b": 0, "d": 4}, None)
    old = _context(HAVE, settings=settings, actions={Role.PREFILL: [1000.0, 2000.0]})
    _check(limit_actions, old, {"a": 7, "b": 0, "d": 4}, {"a": 7, "b": 0, "d": 4}, None)


def test_nothing_is_bought_on_a_guess_unless_a_queue_stands() -> None:
    unknown = frozenset({Role.PREFILL})
    context = _context(HAVE, unknown=unknown)
    _check(explore_with_care, context, {"a": 20, "b": 5, "d": 9}, {"a": 5, "b": 0, "d": 9}, "CapacityUnknown")
    queued = _context(HAVE, unknown=unknown, queued=unknown)
    _check(explore_with_care, queued, {"a": 20, "b": 5, "d": 9}, {"a": 10, "b": 0, "d": 9}, "CapacityUnknown")
    _check(explore_with_care, queued, {"a": 7, "b": 0, "d": 9}, {"a": 7, "b": 0, "d": 9}, None)


def test_a_paused_scale_out_adds_nothing_and_releases_still() -> None:
    context = _context(HAVE, settings=PolicySettings(pause_scale_out=True))
    _check(pause_scale_out, context, {"a": 9, "b": 1, "d": 3}, {"a": 5, "b": 0, "d": 3}, "ScaleOutPaused")


def test_frozen_targets_are_left_alone() -> None:
    context = _context(HAVE, supplies={"a": Supply(5, 5, 5, 0, frozen="another writer scales it: HPA chat")})
    _check(leave_frozen, context, {"a": 9, "b": 1, "d": 4}, {"a": 5, "b": 1, "d": 4}, "LeftAlone")


def test_limits_have_the_last_word() -> None:
    context = _context(HAVE)
    _check(within_limits, context, {"a": 0, "b": 0, "d": 4}, {"a": 1, "b": 0, "d": 4}, "MinReplicas")
    _check(within_limits, context, {"a": 99, "b": 0, "d": 4}, {"a": 60, "b": 0, "d": 4}, "MaxReplicas")


@pytest.mark.parametrize(
    ("ready_of_new", "needed", "expected", "code"),
    [
        (0, 5.0, 5, "MakeBeforeBreak"),
        (2, 5.0, 3, "MakeBeforeBreak"),
        (0, 3.0, 3, "MakeBeforeBreak"),
        (4, 5.0, 1, None),
    ],
)
def test_what_serves_stays_until_what_replaces_it_is_ready(
    ready_of_new: int, needed: float, expected: int, code: str | None
) -> None:
    supplies = {"b": Supply(4, 4, ready_of_new, 0)}
    context = _context({"a": 5, "b": 4, "d": 4}, supplies=supplies)
    context = replace(context, release_need={Role.PREFILL: needed}, speed={"a": 1.0, "b": 1.0, "d": 1.0})
    _check(make_before_break, context, {"a": 1, "b": 4, "d": 4}, {"a": expected, "b": 4, "d": 4}, code)


def test_overdue_orders_stay_unless_another_type_takes_their_place() -> None:
    stuck = {"a": Supply(5, 3, 3, 2, blocked="no stock")}
    context = _context(HAVE, supplies=stuck)
    _check(keep_overdue_orders, context, {"a": 3, "b": 0, "d": 4}, {"a": 5, "b": 0, "d": 4}, "VariantBlocked")
    got, reasons = keep_overdue_orders(context, {"a": 3, "b": 2, "d": 4})
    assert got == {"a": 3, "b": 2, "d": 4}
    assert "withdrawn" in reasons[0].message


def test_guards_speak_in_their_order() -> None:
    settings = PolicySettings(max_scale_out_step=1)
    context = _context(HAVE, settings=settings, held=frozenset({Role.DECODE}))
    got, reasons = guarded(context, {"a": 9, "b": 0, "d": 1})
    assert got == {"a": 6, "b": 0, "d": 4}
    assert [reason.code for reason in reasons] == ["ReleaseHeld", "StepLimit"]
