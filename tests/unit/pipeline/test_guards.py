"""Each guard on its own: what it changes, what it leaves, and that it says so."""

from dataclasses import replace
from typing import Any

import pytest

from forebay.flow.fleet import Pool, RatioBand, Role, VariantKey
from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.pipeline.guard.context import Counts, Guard, GuardContext
from forebay.pipeline.guard.guards import (
    explore_with_care,
    guarded,
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
from forebay.pipeline.guard.removals import keep_overdue_orders
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.size.supply import Supply
from tests.keys import decode, prefill
from tests.unit.pipeline.fleets import split_pool, variant

A, B, D = prefill("a"), prefill("b"), decode("d")

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
    supplies: dict[VariantKey, Supply] | None = None,
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


HAVE = {A: 5, B: 0, D: 4}


@pytest.mark.parametrize("guard", [never_release_held, one_direction, keep_ratio, limit_steps, limit_actions])
def test_a_guard_with_nothing_to_guard_is_silent(guard: Guard) -> None:
    _check(guard, _context(HAVE), {A: 6, B: 1, D: 5}, {A: 6, B: 1, D: 5}, None)


def test_a_held_role_releases_nothing_and_the_other_role_may() -> None:
    context = _context(HAVE, held=frozenset({Role.PREFILL}))
    _check(never_release_held, context, {A: 3, B: 1, D: 2}, {A: 5, B: 1, D: 2}, "ReleaseHeld")


def test_replacement_comes_before_release() -> None:
    _check(one_direction, _context(HAVE), {A: 2, B: 2, D: 3}, {A: 5, B: 2, D: 3}, "OneDirection")


@pytest.mark.parametrize(
    ("planned", "expected", "code"),
    [
        ({A: 2, B: 0, D: 8}, {A: 4, B: 0, D: 8}, "RatioBand"),
        ({A: 9, B: 0, D: 2}, {A: 9, B: 0, D: 3}, "RatioBand"),
        ({A: 6, B: 0, D: 4}, {A: 6, B: 0, D: 4}, None),
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
    got, reasons = keep_ratio(_context({A: 2, D: 6}, pool=pool), {A: 2, D: 6})
    assert got == {A: 3, D: 6}
    assert "limits allow 3" in reasons[0].message


def test_steps_are_limited_per_role_and_direction() -> None:
    settings = PolicySettings(max_scale_out_step=2, max_scale_in_step=1)
    context = _context(HAVE, settings=settings)
    _check(limit_steps, context, {A: 8, B: 4, D: 4}, {A: 7, B: 0, D: 4}, "StepLimit")
    _check(limit_steps, context, {A: 5, B: 0, D: 1}, {A: 5, B: 0, D: 3}, "StepLimit")


def test_an_action_budget_is_spent_per_hour_but_a_queue_is_answered() -> None:
    settings = PolicySettings(actions_per_hour=2)
    recent = {Role.PREFILL: [7000.0, 9000.0]}
    context = _context(HAVE, settings=settings, actions=recent)
    _check(limit_actions, context, {A: 7, B: 0, D: 5}, {A: 5, B: 0, D: 5}, "ActionBudgetSpent")
    queued = _context(HAVE, settings=settings, actions=recent, queued=frozenset({Role.PREFILL}))
    _check(limit_actions, queued, {A: 7, B: 0, D: 4}, {A: 7, B: 0, D: 4}, None)
    old = _context(HAVE, settings=settings, actions={Role.PREFILL: [1000.0, 2000.0]})
    _check(limit_actions, old, {A: 7, B: 0, D: 4}, {A: 7, B: 0, D: 4}, None)


def test_nothing_is_bought_on_a_guess_unless_a_queue_stands() -> None:
    unknown = frozenset({Role.PREFILL})
    context = _context(HAVE, unknown=unknown)
    _check(explore_with_care, context, {A: 20, B: 5, D: 9}, {A: 5, B: 0, D: 9}, "CapacityUnknown")
    queued = _context(HAVE, unknown=unknown, queued=unknown)
    _check(explore_with_care, queued, {A: 20, B: 5, D: 9}, {A: 10, B: 0, D: 9}, "CapacityUnknown")
    _check(explore_with_care, queued, {A: 7, B: 0, D: 9}, {A: 7, B: 0, D: 9}, None)


def test_a_paused_scale_out_adds_nothing_and_releases_still() -> None:
    context = _context(HAVE, settings=PolicySettings(pause_scale_out=True))
    _check(pause_scale_out, context, {A: 9, B: 1, D: 3}, {A: 5, B: 0, D: 3}, "ScaleOutPaused")


def test_frozen_targets_are_left_alone() -> None:
    context = _context(HAVE, supplies={A: Supply(5, 5, 5, 0, frozen="another writer scales it: HPA chat")})
    _check(leave_frozen, context, {A: 9, B: 1, D: 4}, {A: 5, B: 1, D: 4}, "LeftAlone")


def test_limits_have_the_last_word() -> None:
    context = _context(HAVE)
    _check(within_limits, context, {A: 0, B: 0, D: 4}, {A: 1, B: 0, D: 4}, "MinReplicas")
    _check(within_limits, context, {A: 99, B: 0, D: 4}, {A: 60, B: 0, D: 4}, "MaxReplicas")


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
    supplies = {B: Supply(4, 4, ready_of_new, 0)}
    context = _context({A: 5, B: 4, D: 4}, supplies=supplies)
    context = replace(context, release_need={Role.PREFILL: needed}, speed={A: 1.0, B: 1.0, D: 1.0})
    _check(make_before_break, context, {A: 1, B: 4, D: 4}, {A: expected, B: 4, D: 4}, code)


def test_overdue_orders_stay_unless_another_type_takes_their_place() -> None:
    stuck = {A: Supply(5, 3, 3, 2, blocked="no stock")}
    context = _context(HAVE, supplies=stuck)
    _check(keep_overdue_orders, context, {A: 3, B: 0, D: 4}, {A: 5, B: 0, D: 4}, "VariantBlocked")
    got, reasons = keep_overdue_orders(context, {A: 3, B: 2, D: 4})
    assert got == {A: 3, B: 2, D: 4}
    assert "withdrawn" in reasons[0].message


def test_guards_speak_in_their_order() -> None:
    settings = PolicySettings(max_scale_out_step=1)
    context = _context(HAVE, settings=settings, held=frozenset({Role.DECODE}))
    got, reasons = guarded(context, {A: 9, B: 0, D: 1})
    assert got == {A: 6, B: 0, D: 4}
    assert [reason.code for reason in reasons] == ["ReleaseHeld", "StepLimit"]
