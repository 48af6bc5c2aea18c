"""What is replayed when nothing else is said: a 32B model on two GPU types, with public figures.

* Speed: Qwen3-32B in BF16 on vLLM 0.24, one or two GPUs per replica, as AIConfigurator 0.12 predicts it from
  measured kernels (https://github.com/ai-dynamo/aiconfigurator, Apache-2.0). The linear models are least-squares
  fits of relative errors to its prefills of 256 to 8,192 tokens (off by up to 12 %) and to its decode iterations
  of 1 to 512 sequences at 512 to 4,096 tokens (off by up to 13 %). These are predictions, and on the fast side:
  llm-d measured a prefill of 15,928 tokens/s where it predicts 19,500 (two H100,
  https://github.com/llm-d/llm-d/tree/main/guides/workload-autoscaling/keda-epp-token-aware).
* KV cache (calculated): 90 % of the GPUs' memory less 65.5 GB of weights, at 262,144 bytes per token (64 layers x
  8 KV heads x 128 x 2 x 2 bytes). It is what limits decoding here, as it does in most deployments of this size, so
  that policies that scale on its use see the load. KV transfer (calculated): the same bytes at 50 GB/s, one port
  of 400 Gb/s.
* Batch: vLLM's default limit of 1,024 sequences on GPUs of this memory; the KV cache is full long before.
* Prices: on-demand list prices of 8-GPU nodes at Nebius in 2026, as in the public SkyPilot catalogue
  (https://github.com/skypilot-org/skypilot-catalog, nebius/vms.csv). Power: maximum of the GPUs' data sheets.
* Start-up: two minutes for a node and two for a pod, four from an order to the first request where a node must
  come. An assumption; ``--node-lead`` and ``--start-up`` change it.

The best type differs by phase: an H200 prefills no faster than an H100 and costs more, but one of them decodes
nearly two thirds of what two H100 do, at 59 % of their price.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from forebay.flow.fleet import Fleet, NodePool, Pool, PoolKey, Role, Slo, Variant, VariantKey
from forebay.flow.performance import Performance
from forebay.flow.trace import RequestTrace
from forebay.offline.replay.baselines import PoolFacts
from forebay.offline.replay.baselines.common.trace_work import busiest_minute
from forebay.offline.simulation import StartUp
from forebay.offline.traces import PRESETS, generate
from forebay.pipeline.prices import usd_per_replica_hour

DEFAULT_POOL = PoolKey("replay", "qwen3-32b")
DEFAULT_PRESET = "chat"
DEFAULT_REQUESTS_PER_SECOND = 40.0
"""Mean rate of the default traffic on the default pool: several replicas of each role, so that a day shows a
policy and not the rounding of its answers."""
START_UP_SECONDS = 120.0
"""From a pod on its node to the first request."""
NODE_LEAD_SECONDS = 120.0
"""From the launch of a node to usable GPUs."""
HISTORY_SECONDS = 172_800.0
_GPUS_PER_NODE = 8
_MOST = 64
_MOST_OVER_PEAK = 3.0
"""A variant's maximum over what the work of the busiest minute keeps busy: every user sets a maximum."""
_SOURCE = "linear fit to AIConfigurator 0.12 (vLLM 0.24, BF16), github.com/ai-dynamo/aiconfigurator, Qwen3-32B"


def _speed(
    *, what: str, prefill: tuple[float, float], decode: tuple[float, float, float], kv_tokens: int
) -> Performance:
    """Return a linear model from milliseconds, per thousand prompt tokens and per thousand KV tokens."""
    return Performance(
        prefill_base_seconds=prefill[0] / 1e3,
        prefill_seconds_per_token=prefill[1] / 1e6,
        decode_base_seconds=decode[0] / 1e3,
        decode_seconds_per_sequence=decode[1] / 1e3,
        decode_seconds_per_kv_token=decode[2] / 1e6,
        max_batch=1024,
        kv_capacity_tokens=kv_tokens,
        kv_transfer_seconds_per_token=5.2e-6,
        source=f"{_SOURCE}, {what}",
    )


_H100 = _speed(what="one H100", prefill=(7.3, 92.1), decode=(24.8, 0.011, 0.1346), kv_tokens=25_000)
_TWO_H100 = _speed(what="two H100", prefill=(6.6, 51.2), decode=(13.6, 0.026, 0.0429), kv_tokens=299_000)
_H200 = _speed(what="one H200", prefill=(3.5, 93.2), decode=(18.9, 0.050, 0.0514), kv_tokens=234_000)

NODE_POOLS = (
    NodePool(
        name="h100",
        accelerator="NVIDIA-H100-80GB-HBM3",
        gpus_per_node=_GPUS_PER_NODE,
        usd_per_gpu_hour=2.95,
        watts_per_gpu=700.0,
    ),
    NodePool(
        name="h200",
        accelerator="NVIDIA-H200",
        gpus_per_node=_GPUS_PER_NODE,
        usd_per_gpu_hour=3.50,
        watts_per_gpu=700.0,
    ),
)
NODE_LEAD_TIMES = {pool.name: StartUp.fixed(NODE_LEAD_SECONDS) for pool in NODE_POOLS}
_VARIANTS = (
    (Role.PREFILL, "h100", 1, 1, _H100),
    (Role.PREFILL, "h200", 0, 1, _H200),
    (Role.DECODE, "h200", 1, 1, _H200),
    (Role.DECODE, "h100", 0, 2, _TWO_H100),
)
"""Role, node pool, fewest replicas (the cheapest type of a role keeps one, as the API asks), GPUs, speed."""


def default_fleet(trace: RequestTrace | None = None) -> Fleet:
    """Return one pool with prefill and decode on H100 and H200 nodes.

    Args:
        trace: its traffic: maxima are three times what the busiest minute keeps busy, and the node pools have GPUs
            for all of them. Without, every variant may have 64 replicas.
    """
    variants = tuple(
        Variant(
            name=node_pool,
            role=role,
            node_pool=node_pool,
            gpus_per_replica=gpus,
            min_replicas=least,
            max_replicas=_MOST,
            performance=speed,
            start_up_seconds=START_UP_SECONDS,
        )
        for role, node_pool, least, gpus, speed in _VARIANTS
    )
    pool = Pool(key=DEFAULT_POOL, slo=Slo(ttft_seconds=1.0, itl_seconds=0.05, target=0.99), variants=variants)
    fleet = Fleet(pools={pool.key: pool}, node_pools={node_pool.name: node_pool for node_pool in NODE_POOLS})
    return _stocked(fleet if trace is None else _bounded(fleet, pool, trace))


def _bounded(fleet: Fleet, pool: Pool, trace: RequestTrace) -> Fleet:
    busy = _busiest(fleet, pool, trace)
    variants = tuple(
        replace(v, max_replicas=max(4, math.ceil(_MOST_OVER_PEAK * busy[v.key]))) for v in pool.variants
    )
    return replace(fleet, pools={pool.key: replace(pool, variants=variants)})


def _busiest(fleet: Fleet, pool: Pool, trace: RequestTrace) -> Mapping[VariantKey, float]:
    """Return the replicas that the busiest minute keeps busy, were each variant alone in its role."""
    facts = PoolFacts(
        pool=pool,
        performance={v.key: v.performance for v in pool.variants if isinstance(v.performance, Performance)},
        start_up_seconds={},
        usd_per_replica_hour={v.key: usd_per_replica_hour(fleet, v) for v in pool.variants},
    )
    return busiest_minute(facts, trace)


def _stocked(fleet: Fleet) -> Fleet:
    """Return the fleet with nodes for the maxima of all variants."""
    gpus: dict[str, int] = {}
    for pool in fleet.pools.values():
        for variant in pool.variants:
            name = variant.node_pool or ""
            gpus[name] = gpus.get(name, 0) + variant.max_replicas * variant.gpus_per_replica
    node_pools = {
        name: replace(node_pool, max_nodes=math.ceil(gpus[name] / node_pool.gpus_per_node))
        for name, node_pool in fleet.node_pools.items()
    }
    return replace(fleet, node_pools=node_pools)


def preset_trace(
    name: str, *, seed: int, hours: float | None = None, requests_per_second: float | None = None
) -> RequestTrace:
    """Return generated traffic with the two days of minute counts that precede it.

    Args:
        name: of the preset.
        seed: of all that is drawn.
        hours: length; default: the preset's.
        requests_per_second: mean rate of a whole day; default: the preset's.

    Raises:
        ValueError: there is no such preset; the message lists those that there are.
    """
    spec = PRESETS.get(name)
    if spec is None:
        raise ValueError(f"no preset is named {name!r}; there are {', '.join(PRESETS)}")
    seconds = spec.duration_seconds if hours is None else hours * 3600.0
    rate = spec.requests_per_second if requests_per_second is None else requests_per_second
    changed = replace(spec, duration_seconds=seconds, history_seconds=HISTORY_SECONDS, requests_per_second=rate)
    return generate(changed, seed)
