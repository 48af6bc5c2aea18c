"""Resources become the values that flow through the loop; what leads nowhere becomes a sentence."""

from dataclasses import replace
from typing import Any

import pytest

from forebay.api.parsing import parse, parse_any
from forebay.api.policies import policy_settings
from forebay.api.profiles import translate_profile
from forebay.api.translate import Catalogue, PoolBinding, translate_fleet, translate_node_pool, translate_pool
from forebay.api.v1alpha1 import GPUNodePool, InferencePool, ScalingPolicy, ServingProfile
from forebay.api.v1alpha1.scalingpolicy import ScalingPolicySpec
from forebay.flow.fleet import NodePool, PoolKey, RatioBand, Role
from forebay.flow.performance import DecodePoint, Performance, PrefillPoint, ProfilePoints
from forebay.flow.settings import PolicySettings
from tests.keys import decode, serve
from tests.unit.api.manifests import patched, samples

DECODE_H100, CHAT = decode("h100"), serve("chat")

EMPTY = Catalogue(node_pools={}, profiles={}, policies={})
NOW = 1_700_000_000.0


def catalogue() -> Catalogue:
    parsed = [parse_any(body) for body in samples()]
    return Catalogue(
        node_pools={item.name: item for item in parsed if isinstance(item, GPUNodePool)},
        profiles={item.name: item for item in parsed if isinstance(item, ServingProfile)},
        policies={(item.namespace, item.name): item for item in parsed if isinstance(item, ScalingPolicy)},
    )


def sample(name: str) -> dict[str, Any]:
    return next(body for body in samples() if body["kind"] == "InferencePool" and body["metadata"]["name"] == name)


def bound(
    name: str,
    known: Catalogue | None = None,
    horizon_seconds: float = 3600.0,
    changes: dict[str, Any] | None = None,
) -> PoolBinding:
    body = patched(sample(name), changes or {})
    resource = parse(InferencePool, body)
    return translate_pool(resource, known or catalogue(), now_seconds=NOW, horizon_seconds=horizon_seconds)


def test_the_smallest_pool_has_a_default_for_everything() -> None:
    binding = bound("chat", EMPTY)
    assert binding.problems == ()
    assert binding.mode == "Recommend"
    assert binding.pool.key == PoolKey("serving", "chat")
    assert (binding.pool.slo.ttft_seconds, binding.pool.slo.itl_seconds, binding.pool.slo.target) == (
        1.0,
        0.05,
        0.95,
    )
    assert binding.pool.settings.known_loads == ()
    (variant,) = binding.pool.variants
    assert (variant.name, variant.role, variant.min_replicas, variant.max_replicas) == ("chat", Role.SERVE, 1, 8)
    assert variant.usd_per_replica_hour is None
    assert variant.performance is None
    assert binding.targets[CHAT].effective_api_version == "apps/v1"


def test_variants_of_prefill_and_decode_have_names_of_their_own() -> None:
    binding = bound("chat-70b")
    assert [str(variant.key) for variant in binding.pool.variants] == ["prefill/h100", "decode/h100"]
    assert binding.targets[DECODE_H100].kind == "LeaderWorkerSet"
    assert binding.pool.prefill_to_decode == RatioBand(lowest=0.25, highest=3.0)
    assert binding.gateway_pool == "chat-70b"
    assert binding.gateway_labels == {"namespace": "serving", "inference_pool": "chat-70b"}
    assert binding.pool.of_role(Role.DECODE)[0].start_up_seconds == 240.0


def test_a_gateway_s_selector_comes_before_the_reference() -> None:
    gateway = {"dialect": "inference-extension", "selector": {"matchLabels": {"model_name": "llama"}}}
    assert bound("chat-70b", changes={"spec.telemetry.gateway": gateway}).gateway_labels == {"model_name": "llama"}
    assert bound("chat").gateway_labels is None


def test_price_power_and_profile_come_from_the_catalogue() -> None:
    binding = bound("assistant")
    assert binding.problems == ()
    variant = binding.pool.variants[0]
    assert variant.usd_per_replica_hour == pytest.approx(8 * 3.99)
    assert variant.watts_per_replica == 8 * 700
    assert isinstance(variant.performance, ProfilePoints)
    assert binding.pool.budget_usd_per_hour == 400.0
    assert binding.pool.settings.max_scale_in_step == 2
    assert binding.pool.settings.actions_per_hour == 20


def test_schedules_are_expanded_from_now_to_the_horizon() -> None:
    loads = bound("assistant", horizon_seconds=24 * 3600.0).pool.settings.known_loads
    assert {load.name for load in loads} == {"office", "nightly-batch"}
    assert all(load.end_seconds > NOW and load.start_seconds <= NOW + 24 * 3600 for load in loads)


def test_what_leads_nowhere_is_named_and_the_pool_still_works() -> None:
    binding = bound("assistant", EMPTY)
    assert binding.pool.settings.budget_half_life_seconds == PolicySettings().budget_half_life_seconds
    assert all(variant.performance is None for variant in binding.pool.variants)
    assert binding.problems[0] == (
        "spec.policyRef: there is no scalingpolicies.forebay.io office-hours in namespace serving; create it or"
        " correct the name; every default is used until then"
    )
    assert binding.problems[1].startswith(
        "spec.roles.prefill.variants[0].nodePool: there is no gpunodepools.forebay.io h100; create it"
    )
    assert (
        "spec.roles.prefill.variants[0].profileRef: there is no servingprofiles.forebay.io" in binding.problems[2]
    )
    assert len(binding.problems) == 1 + 4 + 4


def test_a_policy_of_another_namespace_is_not_found() -> None:
    known = catalogue()
    elsewhere = replace(known, policies={("other", name): policy for (_, name), policy in known.policies.items()})
    assert "there is no scalingpolicies.forebay.io" in bound("assistant", elsewhere).problems[0]


def test_a_profile_of_other_gpus_per_replica_is_not_used() -> None:
    binding = bound("chat-70b", changes={"spec.roles.prefill.variants[0].gpusPerReplica": 4})
    assert binding.pool.variants[0].performance is None
    assert "was measured with 8 GPUs per replica, this variant has 4" in binding.problems[0]


def test_a_profile_of_another_accelerator_is_used_and_named() -> None:
    binding = bound("chat-70b", changes={"spec.roles.prefill.variants[0].nodePool": "a100-spot"})
    assert binding.pool.variants[0].performance is not None
    assert "was measured on NVIDIA-H100-80GB-HBM3, node pool a100-spot has NVIDIA-A100" in binding.problems[0]


def test_a_schedule_in_an_unknown_time_zone_is_left_out_and_named() -> None:
    known = catalogue()
    policy = known.policies["serving", "office-hours"]
    body = policy.model_dump(mode="json", by_alias=True, exclude_none=True)
    body = patched(body, {"spec.schedules[0].timeZone": "Mars/Olympus"})
    changed = replace(known, policies={("serving", "office-hours"): parse(ScalingPolicy, body)})
    binding = bound("assistant", changed, horizon_seconds=24 * 3600.0)
    assert "schedule office: time zone Mars/Olympus is unknown" in binding.problems[0]
    assert {load.name for load in binding.pool.settings.known_loads} == {"nightly-batch"}


def test_every_field_of_a_policy_reaches_the_settings() -> None:
    spec = ScalingPolicySpec.model_validate(
        {
            "forecast": {"enabled": False, "rateWindow": "2m", "growthCapPercent": 40},
            "errorBudget": {"window": "24h"},
            "guards": {"restart": "7m"},
            "stabilisation": {
                "maxScaleOutStep": 4,
                "maxScaleInStep": 1,
                "actionsPerHour": 12,
                "actionCost": "1m",
            },
        }
    )
    assert policy_settings(spec) == PolicySettings(
        forecast_enabled=False,
        rate_window_seconds=120.0,
        growth_cap=0.4,
        budget_half_life_seconds=86_400.0,
        restart_guard_seconds=420.0,
        max_scale_out_step=4,
        max_scale_in_step=1,
        actions_per_hour=12,
        action_cost_seconds=60.0,
    )


def test_the_documented_defaults_are_those_of_the_settings() -> None:
    settings = PolicySettings()
    assert settings.growth_cap == 0.15
    assert settings.rate_window_seconds == 60.0
    assert settings.budget_half_life_seconds == 12 * 3600.0
    assert settings.restart_guard_seconds == 300.0


@pytest.mark.parametrize(("written", "share"), [(50, 0.5), (99, 0.99), ("99.9", 0.999), ("90.5", 0.905)])
def test_the_objective_may_have_one_decimal(written: object, share: float) -> None:
    slo = {"ttft": "1s", "itl": "50ms", "percentile": written}
    assert bound("chat", changes={"spec.slo": slo}).pool.slo.target == pytest.approx(share)


def test_a_pool_s_own_limits_and_pause_take_precedence() -> None:
    changes = {"spec.limits": {"maxScaleOutStep": 3}, "spec.pause": {"scaleIn": True}}
    known = catalogue()
    settings = bound("assistant", known, changes=changes).pool.settings
    assert settings.max_scale_out_step == 3
    assert settings.pause_scale_in
    assert not settings.pause_scale_out


def test_a_node_pool() -> None:
    node_pool = translate_node_pool(catalogue().node_pools["a100-spot"])
    assert (node_pool.usd_per_gpu_hour, node_pool.spot, node_pool.max_nodes) == (1.39, True, 20)
    assert (node_pool.gpus_per_node, node_pool.watts_per_gpu, node_pool.min_nodes) == (8, 400, 0)


def test_what_a_node_pool_is_billed_by_and_holds_warm() -> None:
    body = patched(
        next(body for body in samples() if body["kind"] == "GPUNodePool"),
        {
            "spec.billing": "GPU",
            "spec.minimumBilling": "10m",
            "spec.capacityType": "reserved",
            "spec.reservedNodes": 3,
            "spec.warm": {"min": 1},
            "spec.provider": {"type": "CapacityBuffer", "capacityBuffer": {"namespace": "warm"}},
        },
    )
    node_pool = translate_node_pool(parse(GPUNodePool, body))
    assert (node_pool.billed_per_gpu, node_pool.minimum_billing_seconds, node_pool.reserved_nodes) == (
        True,
        600,
        3,
    )
    assert (node_pool.warm_min, node_pool.warm_max) == (1, 1)


@pytest.mark.parametrize(
    ("per_gpu", "reserved", "nodes", "held", "usd"),
    [(False, 0, 2, 5, 32.0), (True, 0, 2, 5, 10.0), (False, 3, 2, 5, 48.0), (True, 1, 2, 5, 16.0)],
)
def test_the_bill_counts_nodes_or_held_gpus_and_at_least_what_is_reserved(
    per_gpu: bool, reserved: int, nodes: int, held: int, usd: float
) -> None:
    node_pool = NodePool(
        name="h100",
        accelerator="H100",
        gpus_per_node=8,
        usd_per_gpu_hour=2.0,
        billed_per_gpu=per_gpu,
        reserved_nodes=reserved,
    )
    assert node_pool.usd_per_hour(nodes=nodes, gpus_held=held) == usd
    assert replace(node_pool, usd_per_gpu_hour=None).usd_per_hour(nodes=nodes, gpus_held=held) is None


def test_a_price_of_zero_is_not_an_unknown_price() -> None:
    known = catalogue()
    body = patched(
        next(body for body in samples() if body["kind"] == "GPUNodePool"), {"spec.pricePerGPUHour": "0"}
    )
    free = replace(known, node_pools={**known.node_pools, "h100": parse(GPUNodePool, body)})
    assert bound("chat-70b", free).pool.variants[0].usd_per_replica_hour == 0.0


def test_points_of_a_profile_are_sorted() -> None:
    profile = catalogue().profiles["llama2-70b-h100x8"].spec
    shuffled = profile.model_copy(
        update={"prefill": tuple(reversed(profile.prefill or ())), "decode": tuple(reversed(profile.decode or ()))}
    )
    points = translate_profile(shuffled)
    assert isinstance(points, ProfilePoints)
    assert points.prefill[0] == PrefillPoint(512, 0.0534)
    assert points.decode[0] == DecodePoint(1, 576, 0.0298)
    assert points.kv_transfer_seconds_per_token == pytest.approx(1.64e-6)
    assert points.max_batch == 64


def test_a_linear_profile_is_per_token() -> None:
    spec = catalogue().profiles["llama2-70b-h100x8"].spec
    body = spec.model_dump(mode="json", by_alias=True, exclude={"prefill", "decode"}, exclude_none=True)
    body["linear"] = {
        "prefillBase": "10ms",
        "prefillPerThousandTokens": "100ms",
        "decodeBase": "20ms",
        "decodePerSequence": "300us",
        "decodePerThousandKVTokens": "40us",
    }
    model = translate_profile(type(spec).model_validate(body))
    assert isinstance(model, Performance)
    assert model.prefill_seconds(1000) == pytest.approx(0.11)
    assert model.decode_step_seconds(10, 5000) == pytest.approx(0.02 + 0.003 + 0.0002)


def test_a_fleet_holds_all_pools_and_node_pools() -> None:
    known = catalogue()
    bindings = [bound(name, known) for name in ("chat", "chat-70b", "assistant")]
    fleet = translate_fleet(bindings, known.node_pools.values(), budget_usd_per_hour=900.0)
    assert set(fleet.pools) == {PoolKey("serving", name) for name in ("chat", "chat-70b", "assistant")}
    assert set(fleet.node_pools) == set(known.node_pools) >= {"h100", "a100-spot"}
    assert fleet.budget_usd_per_hour == 900.0
    assert fleet.power_limit_watts is None
