"""A pool's memory as bytes and back: a line of JSON, then the forecaster's own bytes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

import numpy as np

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.forecast.resolution import ONE_MINUTE, Resolution
from forebay.pipeline.remember.memory import Block, PoolMemory, Withdrawal
from forebay.sizing.budget import WINDOWS, MissWindow
from forebay.sizing.calibration import Calibration, RatioFilter
from forebay.sizing.learned import LearnedCapacity, Regression
from forebay.sizing.lengths import LengthTracker
from forebay.sizing.price import RoleSpending, Spending
from forebay.sizing.rates import Burstiness, RateWindow, numbers
from forebay.sizing.regret import Regret

VERSION = 5

_Part = TypeVar("_Part")


class StateError(ValueError):
    """A snapshot cannot be restored; the message says why. The pool then starts afresh."""


def dump(memory: PoolMemory) -> bytes:
    """Return ``memory`` as bytes; what a restart begins anew is left out."""
    document = {
        "version": VERSION,
        "window": asdict(replace(memory.window, known_rates={})),
        "burstiness": asdict(memory.burstiness),
        "lengths": asdict(replace(memory.lengths, sampled=None)),
        "budget": asdict(memory.budget),
        "windows": {name: asdict(window) for name, window in memory.windows.items()},
        "spending": {**asdict(memory.spending), "roles": _of_roles(memory.spending.roles)},
        "regrets": _of_roles(memory.regrets),
        "calibrations": _by_role(memory.calibrations, asdict),
        "learned": _by_role(memory.learned, asdict),
        "blocks": _by_role(memory.blocks, asdict),
        "withdrawals": _by_role(memory.withdrawals, asdict),
        "actions": {role.value: times for role, times in memory.actions.items()},
        "cancelled": memory.cancelled,
        "leads": {role.value: lead for role, lead in memory.leads.items()},
        "desired": _by_role(memory.desired, int),
        "signals_seen": sorted(memory.signals_seen),
        "last_round_seconds": memory.last_round_seconds,
        "fed_until_seconds": memory.fed_until_seconds,
    }
    head = json.dumps(document, separators=(",", ":"), default=list)
    return head.encode() + b"\n" + memory.forecaster.snapshot()


def parse(data: bytes, settings: PolicySettings, resolution: Resolution = ONE_MINUTE) -> PoolMemory:
    """Return the memory that ``dump`` wrote.

    Raises:
        StateError: the bytes are damaged, of another version or of a forecaster with another step.
    """
    head, _, rest = data.partition(b"\n")
    try:
        document = json.loads(head)
        version = document["version"]
        memory = None
        if version == VERSION:
            memory = _memory(document, Forecaster.restore(rest, settings, resolution=resolution))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"the saved state of a pool is damaged ({error}); it starts afresh") from error
    if memory is None:
        raise StateError(f"the saved state of a pool has version {version}, this program reads {VERSION}")
    return memory


def _memory(document: Mapping[str, Any], forecaster: Forecaster) -> PoolMemory:
    return PoolMemory(
        forecaster=forecaster,
        window=RateWindow(**_arrays(document["window"], "starts", "ends", "counts")),
        burstiness=Burstiness(**_arrays(document["burstiness"], "samples")),
        lengths=LengthTracker(**document["lengths"]),
        budget=MissWindow(**document["budget"]),
        windows={name: MissWindow(**document["windows"][name]) for name in WINDOWS},
        spending=_spending(document["spending"]),
        regrets={Role(role): Regret(**_array(value, "sums")) for role, value in document["regrets"].items()},
        calibrations=_each(document["calibrations"], _calibration),
        learned=_each(document["learned"], _learned),
        blocks=_each(document["blocks"], _block),
        withdrawals=_each(document["withdrawals"], _withdrawal),
        actions={Role(role): list(times) for role, times in document["actions"].items()},
        cancelled=list(document["cancelled"]),
        leads={Role(role): float(lead) for role, lead in document["leads"].items()},
        desired=_each(document["desired"], int),
        signals_seen=set(document["signals_seen"]),
        last_round_seconds=document["last_round_seconds"],
        fed_until_seconds=document["fed_until_seconds"],
    )


def _of_roles(values: Mapping[Role, Any]) -> dict[str, Any]:
    return {role.value: asdict(value) for role, value in values.items()}


def _spending(value: dict[str, Any]) -> Spending:
    roles = {Role(role): RoleSpending(**_array(each, "at_prices")) for role, each in value.pop("roles").items()}
    return Spending(roles=roles, **value)


def _array(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {**value, name: np.asarray(value[name], dtype=np.float64)}


def _arrays(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**value, **{name: numbers(value[name]) for name in names}}


def _by_role(values: Mapping[VariantKey, Any], write: Callable[[Any], object]) -> dict[str, dict[str, object]]:
    """Return what is kept per variant as JSON data: by role, then by the variant's name."""
    written: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        written.setdefault(key.role.value, {})[key.name] = write(value)
    return written


def _each(written: Mapping[str, Mapping[str, Any]], build: Callable[[Any], _Part]) -> dict[VariantKey, _Part]:
    """Return what ``_by_role`` wrote."""
    return {
        VariantKey(Role(role), name): build(value)
        for role, values in written.items()
        for name, value in values.items()
    }


def _block(value: dict[str, Any]) -> Block:
    return Block(**value)


def _withdrawal(value: dict[str, Any]) -> Withdrawal:
    return Withdrawal(**value)


def _calibration(value: dict[str, Any]) -> Calibration:
    prefill, decode = RatioFilter(**value.pop("prefill")), RatioFilter(**value.pop("decode"))
    return Calibration(prefill=prefill, decode=decode, **value)


def _learned(value: dict[str, Any]) -> LearnedCapacity:
    prefill, decode = Regression(**value.pop("prefill")), Regression(**value.pop("decode"))
    return LearnedCapacity(prefill=prefill, decode=decode, **value)
