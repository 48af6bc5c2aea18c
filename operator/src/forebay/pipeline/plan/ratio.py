"""The band between prefill and decode replicas: which role lacks how many."""

import math
from collections.abc import Mapping

from forebay.flow.fleet import Pool, Role, VariantKey

_SLACK = 1e-9


def lacking(pool: Pool, counts: Mapping[VariantKey, int]) -> tuple[Role, int] | None:
    """Return the role that has too few replicas for the pool's band beside the other, and how many it wants.

    ``None`` if ``counts``, by variant, are within the band or there is none.
    """
    band = pool.prefill_to_decode
    if band is None or set(pool.roles) != {Role.PREFILL, Role.DECODE}:
        return None
    prefill = sum(counts[v.key] for v in pool.of_role(Role.PREFILL))
    decode = sum(counts[v.key] for v in pool.of_role(Role.DECODE))
    if prefill < band.lowest * decode - _SLACK:
        return Role.PREFILL, math.ceil(band.lowest * decode - _SLACK)
    if prefill > band.highest * decode + _SLACK:
        return Role.DECODE, math.ceil(prefill / band.highest - _SLACK)
    return None
