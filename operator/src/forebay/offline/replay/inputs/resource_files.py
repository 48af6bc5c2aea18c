"""From YAML files of our own resources to the fleet that is replayed."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from forebay.api.base import Resource
from forebay.api.parsing import InvalidResourceError, parse_any
from forebay.api.translate import Catalogue, PoolBinding, translate_fleet, translate_pool
from forebay.api.v1alpha1 import GPUNodePool, InferencePool, ScalingPolicy, ServingProfile
from forebay.api.v1alpha1.gpunodepool import LeadTimePrior
from forebay.flow.fleet import Fleet, PoolKey
from forebay.offline.replay.inputs.build_error import BuildError
from forebay.offline.simulation import StartUp, StartUpPhase

MONDAY_SECONDS = 1_767_571_200.0
"""2026-01-05 00:00 UTC: the day on which a trace without a date is taken to start, for schedules."""
_P90 = 1.2816
"""The 90th percentile of a standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFleet:
    """Resources of files as the pipeline sees them."""

    fleet: Fleet
    bindings: Mapping[PoolKey, PoolBinding]
    lead_times: Mapping[str, StartUp]
    """Of nodes by node pool, where its prior says one."""
    notes: tuple[str, ...] = ()
    """What was not as it should be and is replayed all the same."""


def load_fleet(paths: Iterable[Path], *, span_seconds: float, start_of_day_seconds: float = 0.0) -> LoadedFleet:
    """Read InferencePools and what they refer to from YAML files.

    Args:
        paths: multi-document YAML, or lists as ``kubectl get -o yaml`` prints them.
        span_seconds: how far schedules are expanded.
        start_of_day_seconds: time of day at the trace's start; schedules take that day for a Monday.

    Raises:
        BuildError: a file, a document or a reference cannot be used.
    """
    resources = [resource for path in paths for resource in _resources(path)]
    pools = [resource for resource in resources if isinstance(resource, InferencePool)]
    if not pools:
        raise BuildError(
            "the files have no InferencePool; add one, or leave --pool out for the documented default"
        )
    catalogue = Catalogue(
        node_pools={r.name: r for r in resources if isinstance(r, GPUNodePool)},
        profiles={r.name: r for r in resources if isinstance(r, ServingProfile)},
        policies={(r.namespace, r.name): r for r in resources if isinstance(r, ScalingPolicy)},
    )
    start = MONDAY_SECONDS + start_of_day_seconds
    bindings = [
        _from_zero(translate_pool(pool, catalogue, now_seconds=start, horizon_seconds=span_seconds), start)
        for pool in pools
    ]
    problems = [f"{binding.pool.key}: {problem}" for binding in bindings for problem in binding.problems]
    return LoadedFleet(
        fleet=translate_fleet(bindings, catalogue.node_pools.values()),
        bindings={binding.pool.key: binding for binding in bindings},
        lead_times={
            name: _lognormal(pool.spec.lead_time_prior)
            for name, pool in catalogue.node_pools.items()
            if pool.spec.lead_time_prior is not None
        },
        notes=tuple(problems),
    )


def _resources(path: Path) -> list[Resource]:
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise BuildError(f"{path}{where}: this is no valid YAML; correct it there") from error
    return [_resource(path, body) for document in documents for body in _items(document)]


def _items(document: object) -> list[object]:
    if document is None:
        return []
    if isinstance(document, dict) and document.get("kind") in ("List", "InferencePoolList"):
        return list(document.get("items") or ())
    return [document]


def _resource(path: Path, body: object) -> Resource:
    if not isinstance(body, dict):
        raise BuildError(f"{path}: a document is no object with apiVersion and kind; remove or complete it")
    try:
        return parse_any({name: part for name, part in body.items() if name != "status"})
    except InvalidResourceError as error:
        raise BuildError(f"{path}: {error}") from error


def _from_zero(binding: PoolBinding, start_seconds: float) -> PoolBinding:
    """Move known loads from Unix seconds to the trace's own clock; a replay lets every pool act."""
    settings = binding.pool.settings
    loads = tuple(
        replace(
            load,
            start_seconds=load.start_seconds - start_seconds,
            end_seconds=load.end_seconds - start_seconds,
        )
        for load in settings.known_loads
    )
    return replace(binding, pool=replace(binding.pool, acts=True, settings=replace(settings, known_loads=loads)))


def _lognormal(prior: LeadTimePrior) -> StartUp:
    median, late = prior.p50.seconds, prior.p90.seconds
    return StartUp((StartUpPhase("node", median, max(0.0, math.log(late / median) / _P90)),))
