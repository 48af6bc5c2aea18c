"""The status of our own resources as found: taken for what it is worth, since anybody may have written it."""

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from forebay.actuation.conflicts import parse_time
from forebay.api.text import Duration


def usable_status(status: object) -> Mapping[str, Any]:
    """Return a status without the parts whose shape no Forebay ever wrote: they are as good as not there.

    What is left out differs from the next report, and so is written anew.
    """
    if not isinstance(status, Mapping):
        return {}
    odd = {name for name, is_ours in _SHAPES.items() if name in status and not is_ours(status[name])}
    return {name: value for name, value in status.items() if name not in odd} if odd else status


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


def _are_conditions(value: object) -> bool:
    return isinstance(value, list) and all(_is_condition(item) for item in value)


def _is_condition(item: object) -> bool:
    return (
        isinstance(item, Mapping)
        and all(isinstance(item.get(name), str) for name in ("type", "status", "reason", "message"))
        and parse_time(item.get("lastTransitionTime")) is not None
    )


def _is_lead_time(value: object) -> bool:
    """A pool has one duration, a node pool one entry per phase."""
    return isinstance(value, str) or (isinstance(value, list) and all(_is_phase(item) for item in value))


def _is_phase(item: object) -> bool:
    return (
        isinstance(item, Mapping)
        and all(isinstance(item.get(name), str) for name in ("phase", "p50", "p90"))
        and all(Duration(item[name]).is_written_well() for name in ("p50", "p90"))
        and isinstance(item.get("samples", 0), int)
    )


def _are_roles(value: object) -> bool:
    return _are_objects(value) and all(_are_objects(role.get("variants", [])) for role in value)


def _are_objects(value: object) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


_SHAPES: Mapping[str, Callable[[object], bool]] = {
    "conditions": _are_conditions,
    "summary": _is_object,
    "forecast": _is_object,
    "lastDecision": _is_object,
    "leadTime": _is_lead_time,
    "roles": _are_roles,
}
