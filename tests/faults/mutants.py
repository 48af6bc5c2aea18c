"""Proof that the invariants are sharp: each safety rule is taken out in turn, and some walk must notice.

A mutant names the rule that it takes out, the letters of the invariants (``invariants.py``) that may notice, and
the walk that noticed first when the table was written. It is looked for there first, then in the other walks
of its theme. Rules that others back up are not in the table, because nothing is missed without them alone: a
standing queue, what is held at all, and what serves until its replacement is ready.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from forebay.api import translate
from forebay.pipeline.guard import guards, removals
from forebay.pipeline.size import holding, pool_basis, supply
from forebay.runtime import act
from forebay.runtime.cluster import pools, replicas, writes

_Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One safety rule taken out."""

    name: str
    take_out: _Patch
    letters: str
    seed: int


def _without_guard(guard: object) -> _Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        left = tuple(each for each in guards.GUARDS if each is not guard)
        assert len(left) < len(guards.GUARDS)
        monkeypatch.setattr(guards, "GUARDS", left)

    return patch


def _without_rule(rule: object) -> _Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        left = tuple(each for each in holding.RULES if each is not rule)
        assert len(left) < len(holding.RULES)
        monkeypatch.setattr(holding, "RULES", left)

    return patch


def _set(owner: object, name: str, value: object) -> _Patch:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


def _without_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    made = translate._variant
    monkeypatch.setattr(translate, "_variant", lambda *given: replace(made(*given), min_replicas=0))


def _without_hold_while_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_basis, "untrusted_telemetry", lambda *_: None)
    monkeypatch.setattr(pool_basis, "nothing_new_was_due", lambda *_: True)


def _manifests_as_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes.Writes, "_corrected", writes.Writes._respected)


def _decisions_as_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes.Writes, "_respected", writes.Writes._corrected)


MUTANTS: tuple[Mutant, ...] = (
    Mutant("a rollout is not seen", _set(pools, "rollout_of", lambda *_, **__: None), "R", 4),
    Mutant(
        "the order of removal is not known", _set(replicas, "standings_in_order", lambda *_, **__: None), "CW", 1
    ),
    Mutant("what is blind releases", _without_hold_while_blind, "B", 3),
    Mutant("minReplicas is no limit", _without_minimum, "M", 2),
    Mutant("a withdrawal goes on", _set(supply, "_withdrawal_failed", lambda *_: False), "W", 46),
    Mutant("a start is like any round", _without_rule(holding.after_restart), "S", 3),
    Mutant("reversions are never too many", _set(writes, "_MOST_REVERSIONS", 10**9), "G", 2),
    Mutant("a manifest is respected", _manifests_as_decisions, "M", 2),
    Mutant("a person is corrected", _decisions_as_manifests, "P", 7),
    Mutant("what is lost is counted on", _without_guard(removals.count_what_goes), "CQW", 6),
    Mutant("refusals are not told", _set(act, "_WORTH_SAYING", frozenset()), "T", 2),
)
