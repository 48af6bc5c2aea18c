"""Which pool each trace belongs to."""

from collections.abc import Sequence

import numpy as np

from forebay.flow.fleet import Fleet, PoolKey
from forebay.flow.trace import RequestTrace
from forebay.offline.replay.inputs.build_error import BuildError


def assign_traces(fleet: Fleet, traces: Sequence[tuple[str | None, RequestTrace]]) -> dict[PoolKey, RequestTrace]:
    """Return the traffic of each pool; traces of one pool are merged, each from its own start.

    Args:
        fleet: the pools.
        traces: with the name of their pool (``NAME`` or ``NAMESPACE/NAME``), ``None`` for the only one.

    Raises:
        BuildError: a name fits no pool or several, is missing, or a pool has no traffic.
    """
    found: dict[PoolKey, list[RequestTrace]] = {}
    for name, trace in traces:
        found.setdefault(_pool_named(fleet, name), []).append(trace)
    idle = [str(key) for key in fleet.pools if key not in found]
    if idle:
        raise BuildError(f"no trace is given for {', '.join(idle)}; add --trace {idle[0].split('/')[1]}=FILE")
    return {key: _merged(parts) for key, parts in found.items()}


def _pool_named(fleet: Fleet, name: str | None) -> PoolKey:
    known = ", ".join(key.name for key in fleet.pools)
    if name is None:
        if len(fleet.pools) > 1:
            raise BuildError(f"the fleet has {len(fleet.pools)} pools ({known}); say whose trace it is: NAME=FILE")
        return next(iter(fleet.pools))
    matches = [key for key in fleet.pools if name in (key.name, str(key))]
    if len(matches) != 1:
        what = "names no pool" if not matches else "names more than one pool; write NAMESPACE/NAME"
        raise BuildError(f"--trace {name}=...: {name!r} {what}; there are {known}")
    return matches[0]


def _merged(traces: Sequence[RequestTrace]) -> RequestTrace:
    if len(traces) == 1:
        return traces[0]
    arrivals = np.concatenate([trace.arrival_seconds for trace in traces])
    order = np.argsort(arrivals, kind="stable")
    cached = [np.zeros(len(t), np.int64) if t.cached_tokens is None else t.cached_tokens for t in traces]
    any_cached = any(trace.cached_tokens is not None for trace in traces)
    return RequestTrace(
        name="+".join(trace.name for trace in traces),
        arrival_seconds=arrivals[order],
        input_tokens=np.concatenate([trace.input_tokens for trace in traces])[order],
        output_tokens=np.concatenate([trace.output_tokens for trace in traces])[order],
        cached_tokens=np.concatenate(cached)[order] if any_cached else None,
        start_of_day_seconds=traces[0].start_of_day_seconds,
    )
