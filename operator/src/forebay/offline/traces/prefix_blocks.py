"""Blocks of prompt tokens named by hashes: how large they are, and which of them an earlier request had."""

from collections.abc import Sequence

import numpy as np

from forebay.offline.traces.trace_source import TraceSource

Block = int | str
USUAL_BLOCK_TOKENS = 512
_SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
_FITTING = 0.99
"""Share of the prompts that a block size must fit; a file may have a few odd lines."""


def block_tokens_of(
    source: TraceSource, prompts: Sequence[float], blocks: Sequence[Sequence[Block]], told: int | None
) -> int:
    """Return the tokens of a block, as told or as the lengths of prompts and their blocks show.

    A prompt of n tokens has n over the block size blocks, rounded up, or down where only full blocks are named.

    Raises:
        TraceError: no usual size fits.
    """
    if told is not None:
        return told
    counts = np.array([len(own) for own in blocks])
    tokens_of = np.asarray(prompts)[counts > 0]
    counts = counts[counts > 0]
    if not len(counts):
        return USUAL_BLOCK_TOKENS

    def fits(size: int) -> bool:
        good = (counts == np.ceil(tokens_of / size)) | (counts == tokens_of // size)
        return bool(good.mean() >= _FITTING)

    sizes = [size for size in _SIZES if fits(size)]
    if not sizes:
        tokens, count = tokens_of[0], counts[0]
        raise source.error(
            f"no usual size of block fits its hash_ids (the first prompt has {tokens:.0f} tokens in {count} "
            "blocks); say it with --trace-block-tokens"
        )
    return USUAL_BLOCK_TOKENS if USUAL_BLOCK_TOKENS in sizes else sizes[0]


def cached_tokens(prompts: Sequence[float], blocks: Sequence[Sequence[Block]], block_tokens: int) -> list[float]:
    """Return per prompt the tokens that an infinite prefix cache answers: its leading blocks seen before."""
    cache: set[Block] = set()
    found = []
    for tokens, own in zip(prompts, blocks, strict=True):
        hits = next((index for index, block in enumerate(own) if block not in cache), len(own))
        cache.update(own)
        found.append(min(tokens, float(block_tokens * hits)))
    return found
