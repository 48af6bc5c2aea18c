"""What `manifests/kind` says in several places is the same everywhere."""

import itertools
from typing import Any

import pytest
import yaml

from enginepod.cli import performance
from kindscene.images import INFERENCE_SIM_IMAGE, PROMETHEUS_IMAGE, own_images
from kindscene.places import GPUS_PER_NODE, MANIFESTS, POOL_LABEL, SERVING, WORKERS

#: Seconds per unit of a profile's durations.
_UNITS = {"us": 1e-6, "ms": 1e-3}


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MANIFESTS / name).read_text()))


def _engines() -> dict[str, dict[str, Any]]:
    """Return the pod templates of the engines' Deployments, by name."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in _documents("engines.yaml")
        if one["kind"] == "Deployment" and one["metadata"]["name"].startswith("chat-")
    }


def _seconds(text: str) -> float:
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * _UNITS[unit]


def test_every_worker_has_a_gpu_type() -> None:
    (cluster,) = _documents("cluster.yaml")
    assert [node["role"] for node in cluster["nodes"]] == ["control-plane"] + ["worker"] * len(WORKERS)
    pools = {one["metadata"]["name"]: one for one in _documents("pool.yaml") if one["kind"] == "GPUNodePool"}
    assert set(pools) == set(WORKERS)
    for name, pool in pools.items():
        assert pool["spec"]["nodeSelector"] == {POOL_LABEL: name}
        assert pool["spec"]["maxNodes"] == WORKERS.count(name)
        assert pool["spec"]["gpusPerNode"] == GPUS_PER_NODE


def test_images_are_those_that_are_built() -> None:
    used = {
        container["image"]
        for name in ("engines.yaml", "inference-sim.yaml", "prometheus.yaml")
        for one in _documents(name)
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    assert used == {own_images({})[1], PROMETHEUS_IMAGE, INFERENCE_SIM_IMAGE}


def test_targets_exist_and_run_where_their_variant_says() -> None:
    engines = _engines()
    (pool,) = (one for one in _documents("pool.yaml") if one["kind"] == "InferencePool")
    assert pool["metadata"]["namespace"] == SERVING
    variants = list(itertools.chain.from_iterable(role["variants"] for role in pool["spec"]["roles"].values()))
    assert {variant["target"]["name"] for variant in variants} == set(engines)
    for variant in variants:
        assert engines[variant["target"]["name"]]["nodeSelector"] == {POOL_LABEL: variant["nodePool"]}
        assert variant["profileRef"] == {"name": f"chat-{variant['nodePool']}"}


@pytest.mark.parametrize("gpu_type", sorted(set(WORKERS)))
def test_profiles_tell_the_speed_that_the_engines_have(gpu_type: str) -> None:
    (profile,) = (one["spec"] for one in _documents("pool.yaml") if one["metadata"]["name"] == f"chat-{gpu_type}")
    linear = profile["linear"]
    for role in ("prefill", "decode"):
        arguments = _engines()[f"chat-{role}-{gpu_type}"]["containers"][0]["args"]
        speed = performance(arguments[arguments.index("--speed") + 1 :])
        assert (speed.max_batch, speed.kv_capacity_tokens) == (profile["maxBatch"], profile["kvCacheTokens"])
        assert [
            speed.prefill_base_seconds,
            1_000 * speed.prefill_seconds_per_token,
            speed.decode_base_seconds,
            speed.decode_seconds_per_sequence,
            1_000 * speed.decode_seconds_per_kv_token,
            1_000 * speed.kv_transfer_seconds_per_token,
        ] == pytest.approx(
            [
                _seconds(linear["prefillBase"]),
                _seconds(linear["prefillPerThousandTokens"]),
                _seconds(linear["decodeBase"]),
                _seconds(linear["decodePerSequence"]),
                _seconds(linear["decodePerThousandKVTokens"]),
                _seconds(profile["kvTransferPerThousandTokens"]),
            ]
        )
