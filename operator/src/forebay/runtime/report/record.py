"""The decision record as plain JSON data, for the HTTP endpoint, logs and `forebay explain`."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from forebay.flow.decision import PoolDecision
from forebay.flow.observation import PoolObservation
from forebay.runtime.act import Done


def decision_record(
    observed: PoolObservation, decision: PoolDecision, done: Iterable[Done], *, mode: str
) -> dict[str, Any]:
    """Return everything that one round knew and decided about a pool."""
    return {
        "mode": mode,
        "decision": to_json(decision),
        "observation": to_json(observed),
        "actions": [
            {
                "target": str(item.action.workload.target),
                "from": item.action.workload.replicas,
                "to": item.action.replicas,
                "victims": [pod.name for pod in item.action.victims],
                "parked": [pod.name for pod in item.action.parked],
                "back": [pod.name for pod in item.action.back],
                "result": item.outcome.result.value,
                "message": item.outcome.message,
            }
            for item in done
        ],
    }


def to_json(value: object) -> Any:
    """Return dataclasses, enums, mappings and sequences as JSON data; numbers that JSON lacks become null.

    Fields that a dataclass derives from its other fields are left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((item.name, getattr(value, item.name)) for item in dataclasses.fields(value) if item.init)
        return {name: to_json(inner) for name, inner in fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
