"""Short names for the keys of variants in tests."""

from functools import partial

from forebay.flow.fleet import Role, VariantKey

prefill = partial(VariantKey, Role.PREFILL)
decode = partial(VariantKey, Role.DECODE)
serve = partial(VariantKey, Role.SERVE)
