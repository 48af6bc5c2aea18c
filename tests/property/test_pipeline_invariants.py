"""What holds for every pool, whatever happens to it."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.flow.decision import ReasonCode
from forebay.flow.fleet import Fleet, Pool, PoolKey, RatioBand, Role
from forebay.flow.settings import PolicySettings
from forebay.pipeline import FleetState, decide
from forebay.sizing.price import PRICES
from tests.unit.pipeline.fleets import KEY, counts, fleet_world, split_pool, variant, world

RELAXED = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])

events = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.3, 4.0, 30.0, 150.0]),  # requests per second
        st.sampled_from([0.0, 0.0, 0.0, 50.0, 2000.0]),  # waiting
        st.booleans(),  # blind
        st.integers(1, 10),  # rounds
    ),
    min_size=1,
    max_size=5,
)
policies = st.builds(
    PolicySettings,
    restart_guard_seconds=st.sampled_from([0.0, 600.0]),
    max_scale_out_step=st.sampled_from([None, 1, 5]),
    max_scale_in_step=st.sampled_from([None, 1]),
    actions_per_hour=st.sampled_from([None, 3]),
    pause_scale_in=st.booleans(),
)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    prefill = []
    for name in ("a", "b")[: draw(st.integers(1, 2))]:
        low = draw(st.integers(0, 3))
        high = low + draw(st.integers(1, 20))
        dollars = draw(st.sampled_from([1.0, 2.5]))
        prefill.append(
            variant(Role.PREFILL, name, min_replicas=low, max_replicas=high, usd_per_replica_hour=dollars)
        )
    low = draw(st.integers(1, 3))
    decode = variant(Role.DECODE, min_replicas=low, max_replicas=low + draw(st.integers(0, 20)))
    band = draw(st.sampled_from([None, RatioBand(lowest=0.25, highest=4.0)]))
    return split_pool(variants=[*prefill, decode], prefill_to_decode=band, settings=draw(policies))


@RELAXED
@given(pool=pools(), story=events, start=st.integers(0, 25))
def test_limits_hold_and_missing_is_never_zero(pool: Pool, story: Any, start: int) -> None:
    small = world(pool, 0.0, replicas={KEY: {v.name: max(start, v.min_replicas) for v in pool.variants}})
    for rate, waiting, blind, rounds in story:
        small.rates[KEY], small.waiting[KEY] = rate, waiting
        small.blind = {KEY} if blind else set()
        for _ in range(rounds):
            before = dict(small.replicas[KEY])
            decision = small.step()[KEY]
            after = counts(decision)
            for v in pool.variants:
                assert v.min_replicas <= after[v.name] <= v.max_replicas
                if blind:
                    assert after[v.name] >= min(before[v.name], v.max_replicas)
            assert not any(reason.code == ReasonCode.STEP_FAILED for reason in decision.reasons)
            for role in pool.roles:
                moves = {after[v.name] - before[v.name] for v in pool.of_role(role)}
                within = all(before[v.name] <= v.max_replicas for v in pool.of_role(role))
                assert not (within and min(moves) < 0 < max(moves)), "one direction at a time per role"


@RELAXED
@given(story=events)
def test_a_role_never_wants_nothing_and_prices_are_in_bounds(story: Any) -> None:
    small = world(rate=0.0)
    for rate, waiting, _, rounds in story:
        small.rates[KEY], small.waiting[KEY] = rate, waiting
        for _ in range(rounds):
            before = dict(small.replicas[KEY])
            for reason in small.step()[KEY].reasons:
                if reason.code == ReasonCode.SIZED and reason.role is not None:
                    numbers = reason.numbers
                    assert numbers["wanted"] >= min(before[reason.role.value], 1)
                    assert PRICES[0] <= numbers["miss_price"] <= PRICES[-1]
                    assert numbers["allowed_miss_share"] > 0.0


@settings(RELAXED, max_examples=6)
@given(rates=st.lists(st.sampled_from([1.0, 10.0, 60.0, 200.0]), min_size=2, max_size=4), order=st.randoms())
def test_the_order_of_pools_does_not_matter(rates: list[float], order: Any) -> None:
    keys = [PoolKey("serving", f"chat-{index}") for index in range(len(rates))]
    forwards = {key: split_pool(key) for key in keys}
    shuffled_keys = list(keys)
    order.shuffle(shuffled_keys)
    straight = fleet_world(forwards, dict(zip(keys, rates, strict=True)), noise=False)
    shuffled = Fleet(pools={key: forwards[key] for key in shuffled_keys}, node_pools={})
    state = FleetState()
    for _ in range(30):
        observed = straight.observe()
        assert decide(straight.fleet, observed, straight.state) == decide(shuffled, observed, state)


@RELAXED
@given(rate=st.floats(0.5, 150.0), factor=st.floats(1.5, 4.0))
def test_more_load_never_needs_less(rate: float, factor: float) -> None:
    less, more = world(rate=rate, noise=False), world(rate=rate * factor, noise=False)
    for _ in range(25):
        small, large = less.step()[KEY], more.step()[KEY]
    wanted = [
        {reason.role: reason.numbers["wanted"] for reason in decision.reasons if reason.code == ReasonCode.SIZED}
        for decision in (small, large)
    ]
    for role in (Role.PREFILL, Role.DECODE):
        assert wanted[1][role] >= wanted[0][role]
