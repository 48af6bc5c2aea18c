"""What no number of replicas can meet, and by what such a pool is sized instead."""

from collections.abc import Mapping
from dataclasses import replace

from forebay.flow.decision import Reason, ReasonCode, Step
from forebay.flow.fleet import Pool, Role, VariantKey
from forebay.flow.roles import ROLES
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.remember.performances import Believed
from forebay.sizing.work import largest_batch

Beliefs = Mapping[VariantKey, Believed]


def hopeless_shares(pool: Pool, believed: Beliefs, memory: PoolMemory) -> dict[Role, float]:
    """Return the share of current requests that each role misses however many replicas it has.

    A prompt is hopeless where an idle replica of the fastest variant takes longer for it than the TTFT objective;
    all answers are where a replica with one sequence is slower than the ITL objective.
    """
    prompts = _long_prompts(pool, believed, memory)
    answers = float(_fastest_itl(pool, believed, memory) > pool.slo.itl_seconds)
    return {role: max(prompts * ROLES[role].prefills, answers * ROLES[role].decodes) for role in pool.roles}


def within_reach(pool: Pool, believed: Beliefs, memory: PoolMemory) -> Pool:
    """Return the pool with the objectives to size by: where no replica meets the ITL, that of full batches.

    Small batches would multiply the replicas and still miss. With full ones no request waits for a slot.
    """
    if _fastest_itl(pool, believed, memory) <= pool.slo.itl_seconds:
        return pool
    context = memory.current_lengths.context_tokens
    slowest = max(
        each.itl_seconds(largest_batch(each.performance, context), context) for each in _decoding(pool, believed)
    )
    return replace(pool, slo=replace(pool.slo, itl_seconds=slowest))


def out_of_reach(pool: Pool, believed: Beliefs, memory: PoolMemory) -> list[Reason]:
    """Say where the objective cannot be met, and what can."""
    hopeless = max(memory.hopeless_shares.values(), default=0.0)
    if hopeless <= 1.0 - pool.slo.target:
        return []
    fastest = _fastest_itl(pool, believed, memory)
    if fastest > pool.slo.itl_seconds:
        message = (
            f"a replica with one sequence takes {1000.0 * fastest:.0f} ms per token, so no request can meet the "
            f"ITL objective of {1000.0 * pool.slo.itl_seconds:.0f} ms: raise slo.itl, or use faster replicas; "
            "until then replicas are counted by full batches"
        )
    else:
        message = (
            f"an idle replica answers {100.0 * (1.0 - hopeless):.1f} % of the present prompts within the TTFT "
            f"objective, so {100.0 * pool.slo.target:g} % cannot be met: raise slo.ttft, or use faster replicas"
        )
    numbers = {"reachable_share": 1.0 - hopeless}
    return [Reason(step=Step.SIZE, code=ReasonCode.OUT_OF_REACH, message=message, numbers=numbers)]


def _long_prompts(pool: Pool, believed: Beliefs, memory: PoolMemory) -> float:
    longest = [
        belief.longest_prompt(pool.slo.ttft_seconds)
        for variant in pool.variants
        if ROLES[variant.role].prefills and (belief := believed[variant.key]).known
    ]
    return memory.lengths.share_beyond(max(longest)) if longest else 0.0


def _fastest_itl(pool: Pool, believed: Beliefs, memory: PoolMemory) -> float:
    """Return the ITL of one sequence on the fastest variant; 0 while none is known."""
    context = memory.current_lengths.context_tokens
    return min((each.itl_seconds(1.0, context) for each in _decoding(pool, believed)), default=0.0)


def _decoding(pool: Pool, believed: Beliefs) -> list[Believed]:
    return [
        belief
        for variant in pool.variants
        if ROLES[variant.role].decodes and (belief := believed[variant.key]).known
    ]
