"""What is replayed when nothing else is said: a 70B model on two GPU types, with public figures.

* Speed: Llama 2 70B on one node of eight GPUs, measured by the authors of Splitwise (Patel et al., ISCA 2024) and
  published in github.com/Mutinifni/splitwise-sim. The linear models are least-squares fits of relative errors to
  their prefills of 512 to 4,096 prompt tokens (off by up to 23 %: measured time bends upward above 2,048) and to
  their decode iterations of 1 to 64 sequences at 576 tokens and of one at 8,256 (off by up to 6 %).
* KV cache (calculated): 90 % of 640 GB less 138 GB of weights, at 327,680 bytes per token (80 layers x 8 KV heads
  x 128 x 2 x 2 bytes). KV transfer (calculated): the same bytes at 200 GB/s between two nodes.
* Prices: on-demand list prices of 8-GPU SXM nodes at Lambda in 2025, as in the public SkyPilot catalogue
  (github.com/skypilot-org/skypilot-catalog). Power: maximum of the GPUs' public data sheets.
* Start-up: four minutes from the order to the first request, an assumption; ``--start-up`` changes it.
"""

from dataclasses import replace

from forebay.flow.fleet import Fleet, NodePool, Pool, PoolKey, Role, Slo, Variant
from forebay.flow.performance import Performance
from forebay.flow.trace import RequestTrace
from forebay.traces import PRESETS, generate

DEFAULT_POOL = PoolKey("replay", "llama2-70b")
DEFAULT_PRESET = "chat"
START_UP_SECONDS = 240.0
HISTORY_SECONDS = 172_800.0
_GPUS = 8
_SOURCE = "Splitwise (Patel et al., ISCA 2024), github.com/Mutinifni/splitwise-sim"


def _speed(*, what: str, prefill: tuple[float, float], decode: tuple[float, float, float]) -> Performance:
    """Return a linear model from milliseconds, per thousand prompt tokens and per thousand KV tokens."""
    return Performance(
        prefill_base_seconds=prefill[0] / 1e3,
        prefill_seconds_per_token=prefill[1] / 1e6,
        decode_base_seconds=decode[0] / 1e3,
        decode_seconds_per_sequence=decode[1] / 1e3,
        decode_seconds_per_kv_token=decode[2] / 1e6,
        max_batch=64,
        kv_capacity_tokens=1_336_000,
        kv_transfer_seconds_per_token=1.64e-6,
        source=f"linear fit to {_SOURCE}, Llama2-70B, {what}, TP 8",
    )


_SPEEDS = {
    "h100": _speed(what="H100-80GB", prefill=(13.3, 69.7), decode=(29.5, 0.191, 0.211)),
    "a100": _speed(what="A100-80GB", prefill=(20.7, 136.6), decode=(43.5, 0.202, 0.338)),
}
NODE_POOLS = (
    NodePool(
        name="h100",
        accelerator="NVIDIA-H100-80GB-HBM3",
        gpus_per_node=_GPUS,
        usd_per_gpu_hour=2.99,
        max_nodes=64,
        watts_per_gpu=700.0,
    ),
    NodePool(
        name="a100",
        accelerator="NVIDIA-A100-SXM4-80GB",
        gpus_per_node=_GPUS,
        usd_per_gpu_hour=1.79,
        max_nodes=64,
        watts_per_gpu=400.0,
    ),
)


def default_fleet() -> Fleet:
    """Return one pool with prefill and decode on H100 and A100 nodes."""
    variants = tuple(
        Variant(
            name=f"{role.value}/{node_pool.name}",
            role=role,
            node_pool=node_pool.name,
            gpus_per_replica=_GPUS,
            min_replicas=0,
            max_replicas=32,
            performance=_SPEEDS[node_pool.name],
            start_up_seconds=START_UP_SECONDS,
        )
        for role in (Role.PREFILL, Role.DECODE)
        for node_pool in NODE_POOLS
    )
    pool = Pool(key=DEFAULT_POOL, slo=Slo(ttft_seconds=1.0, itl_seconds=0.075, target=0.99), variants=variants)
    return Fleet(pools={pool.key: pool}, node_pools={node_pool.name: node_pool for node_pool in NODE_POOLS})


def preset_trace(name: str, *, seed: int, hours: float | None = None) -> RequestTrace:
    """Return generated traffic with the two days of minute counts that precede it.

    Raises:
        ValueError: there is no such preset; the message lists those that there are.
    """
    spec = PRESETS.get(name)
    if spec is None:
        raise ValueError(f"no preset is named {name!r}; there are {', '.join(PRESETS)}")
    seconds = spec.duration_seconds if hours is None else hours * 3600.0
    return generate(replace(spec, duration_seconds=seconds, history_seconds=HISTORY_SECONDS), seed)
