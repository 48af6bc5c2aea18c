"""From a pool, its traffic and its options to the simulator's arrays."""

from collections.abc import Mapping

import numpy as np

from forebay.flow.fleet import Pool, Role, VariantKey
from forebay.flow.performance import Performance
from forebay.flow.roles import ROLES
from forebay.flow.trace import IntArray, RequestTrace
from forebay.offline.simulation.kernel_state import COUNTERS, TOTAL, KernelState, Rules, new_queues, new_slots
from forebay.offline.simulation.simulated_replica import VariantModel
from forebay.offline.simulation.simulation_options import (
    DEFAULT_START_UP_SECONDS,
    QueueOrder,
    SimulationOptions,
    StartUp,
)
from forebay.offline.simulation.structures import NEVER


def variant_models(
    pool: Pool,
    trace: RequestTrace,
    performance: Mapping[VariantKey, Performance],
    start_up: Mapping[VariantKey, StartUp],
    options: SimulationOptions,
) -> list[VariantModel]:
    """Return the simulated properties of each variant, in the pool's order.

    Raises:
        ValueError: the roles do not serve requests, a name is unknown, or a variant has no usable performance.
    """
    roles = set(pool.roles)
    if roles not in ({Role.SERVE}, {Role.PREFILL, Role.DECODE}):
        raise ValueError(
            f"a pool needs prefill and decode variants, or serve variants alone; it has {sorted(roles)}"
        )
    known = {variant.key for variant in pool.variants}
    for key in (*performance, *start_up, *options.routing_weights):
        if key not in known:
            raise ValueError(f"there is no variant {key}; there are {', '.join(map(str, sorted(known)))}")
    prompt = float(trace.input_tokens.mean()) if len(trace) else 1000.0
    context = prompt + (float(trace.output_tokens.mean()) / 2 if len(trace) else 100.0)
    models = []
    for variant in pool.variants:
        speed = performance.get(variant.key, variant.performance)
        if not isinstance(speed, Performance):
            raise ValueError(  # noqa: TRY004  a profile of points is a fine type, but not here
                f"variant {variant.key} has no linear performance model; pass one in `performance`"
            )
        _check(variant.key, speed)
        weight = max(1e-9, options.routing_weights.get(variant.key, 1.0))
        default = StartUp.fixed(
            DEFAULT_START_UP_SECONDS if variant.start_up_seconds is None else variant.start_up_seconds
        )
        models.append(
            VariantModel(
                variant=variant,
                performance=speed,
                start_up=start_up.get(variant.key, default),
                share=weight * _edge_batch(speed, pool.slo.itl_seconds, context),
                rank=speed.prefill_seconds(prompt) / weight,
            )
        )
    return models


def _check(key: VariantKey, speed: Performance) -> None:
    if speed.max_batch < 1 or speed.kv_capacity_tokens < 1 or speed.decode_base_seconds <= 0:
        raise ValueError(f"variant {key}: max_batch, kv_capacity_tokens and decode_base_seconds must be positive")
    if speed.prefill_base_seconds + speed.prefill_seconds_per_token <= 0:
        raise ValueError(f"variant {key}: a prefill must take time")


def _edge_batch(speed: Performance, itl: float, context: float) -> float:
    """Return the batch at which one iteration takes ``itl``: the capacity by which routing balances."""
    per_sequence = speed.decode_seconds_per_sequence + speed.decode_seconds_per_kv_token * context
    most = min(speed.max_batch, speed.kv_capacity_tokens / context)
    if per_sequence <= 0:
        return most
    return max(1.0, min(most, (itl - speed.decode_base_seconds) / per_sequence))


def _heap_room(batch: int) -> int:
    """Return entries per slot: an odd number of cache lines, so that the heaps do not share cache sets."""
    return (-(-batch // 8) | 1) * 8


def new_world(
    pool: Pool,
    trace: RequestTrace,
    models: list[VariantModel],
    options: SimulationOptions,
    priority: IntArray | None,
) -> KernelState:
    """Return the state at time 0, without replicas.

    Raises:
        ValueError: ``priority`` does not fit the trace.
    """
    count = len(trace)
    prompt = np.require(trace.input_tokens, np.int64, ["C", "W"])
    output = np.require(trace.output_tokens, np.int64, ["C", "W"])
    work = prompt
    if options.prefix_cache and trace.cached_tokens is not None:
        work = np.maximum(0, prompt - trace.cached_tokens).astype(np.int64)
    if priority is not None and (
        len(priority) != count or (count and (priority.min() < 0 or priority.max() > 200))
    ):
        raise ValueError("priority needs one class from 0 to 200 per request")
    classes = 1 if priority is None or count == 0 else int(priority.max()) + 1
    mean_work = float(work.mean()) if count else 1000.0
    with_prefill = [m.performance for m in models if ROLES[m.variant.role].prefills]
    with_decode = [m.performance for m in models if ROLES[m.variant.role].decodes]
    fastest = min(with_prefill, key=lambda p: p.prefill_seconds(mean_work))
    timeout = options.queue_timeout_seconds
    batch_limit = _heap_room(max(p.max_batch for p in with_decode))

    def optional(wanted: bool) -> int:
        return count if wanted else 1

    rules = Rules(
        ttft_slo=float(pool.slo.ttft_seconds),
        itl_slo=float(pool.slo.itl_seconds),
        late_last=options.queue_order is QueueOrder.LATE_LAST,
        reserve_kv=options.reserve_kv,
        preemption=options.preemption,
        timeout=NEVER if timeout is None else float(timeout),
        retries=int(options.retries),
        backoff=float(options.retry_backoff_seconds),
        classes=classes,
        chunk=float(options.prefill_chunk_tokens or 0),
        fast_base=float(fastest.prefill_base_seconds),
        fast_token=float(fastest.prefill_seconds_per_token),
        transfer_token=0.0
        if Role.SERVE in pool.roles
        else float(max(p.kv_transfer_seconds_per_token for p in with_prefill)),
        kv_room=float(max(p.kv_capacity_tokens for p in with_decode)),
        log_slots=options.log_replicas,
        batch_limit=int(batch_limit),
    )
    slots = new_slots(8, int(batch_limit))
    world = KernelState(
        arrival=np.require(trace.arrival_seconds, np.float64, ["C", "W"]),
        prompt=prompt,
        work=work,
        output=output,
        ttft=np.full(count, np.nan),
        done=np.full(count, np.nan),
        link=np.full(count, -1, np.int32),
        state=np.zeros(count, np.uint8),
        log=np.zeros(count, np.int32),
        level=np.zeros(1, np.uint8) if priority is None else priority.astype(np.uint8),
        left=np.zeros(optional(options.preemption)),
        attempt=np.zeros(optional(timeout is not None), np.uint8),
        started=np.zeros(optional(options.log_replicas)),
        prefill_slot=np.zeros(optional(options.log_replicas), np.int32),
        decode_slot=np.zeros(optional(options.log_replicas), np.int32),
        gauges=slots.gauges,
        counts=slots.counts,
        keys=slots.keys,
        trees=slots.trees,
        tags=slots.tags,
        ids=slots.ids,
        sums=slots.sums,
        queues=new_queues(classes),
        counters=np.zeros(COUNTERS, np.int64),
        transfer_key=np.zeros(64),
        transfer_id=np.zeros(64, np.int32),
        retry_id=np.zeros(64, np.int64),
        retry_time=np.zeros(64),
        rules=rules,
    )
    world.counters[TOTAL] = count
    return world
