"""Fake GPU nodes look like real ones at each step of their start."""

import json

import pytest

from devcluster.gpu import ACCELERATORS, GPU_RESOURCE, POOL_LABEL, ColdStart, NodePool
from devcluster.rest import condition_status, mapping, sequence, text
from devcluster.stages import PREFIX


def test_a_node_registers_cold_and_known_to_its_pool() -> None:
    node = NodePool("big", accelerator="h100", gpus_per_node=8).node("big-1")
    assert condition_status(node, "Ready") == "False"
    assert mapping(node, "status", "allocatable")[GPU_RESOURCE] == "0"
    assert text(node, "metadata", "labels", POOL_LABEL) == "big"
    assert text(node, "spec", "providerID") == "kwok://big-1"
    assert text(node, "metadata", "annotations", "kwok.x-k8s.io/node") == "fake"


def test_gpu_labels_come_with_the_driver_and_not_before() -> None:
    node = NodePool("a", accelerator="a100", gpus_per_node=4).node("a-1")
    assert not [name for name in mapping(node, "metadata", "labels") if name.startswith("nvidia.com/")]
    later = json.loads(text(node, "metadata", "annotations", f"{PREFIX}discovered-labels"))
    assert later["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-80GB"
    assert later["nvidia.com/gpu.count"] == "4"
    assert all(isinstance(value, str) for value in later.values())


@pytest.mark.parametrize("accelerator", sorted(ACCELERATORS))
def test_label_values_are_valid(accelerator: str) -> None:
    for value in NodePool("a", accelerator=accelerator).discovered_labels().values():
        assert value.replace("-", "").replace(".", "").replace("_", "").isalnum()
        assert len(value) <= 63


def test_a_tainted_pool_repels_pods_without_gpus() -> None:
    assert sequence(NodePool("a", tainted=True).node("a-1"), "spec", "taints")[0]["key"] == GPU_RESOURCE
    assert sequence(NodePool("a").node("a-1"), "spec", "taints") == []


def test_spot_is_a_label() -> None:
    assert NodePool("a", spot=True).labels()[f"{PREFIX}capacity-type"] == "spot"


def test_times_are_annotations_in_plain_seconds() -> None:
    times = ColdStart(gpus_ready_seconds=90, gpus_ready_jitter_seconds=12.5)
    assert times.node_annotations()[f"{PREFIX}gpus-ready-seconds"] == "90"
    assert times.node_annotations()[f"{PREFIX}gpus-ready-jitter-seconds"] == "12.5"


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_impossible_times_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="model_load_seconds is"):
        ColdStart(model_load_seconds=seconds)


def test_impossible_pools_are_refused() -> None:
    with pytest.raises(ValueError, match="accelerator 'h900' is none of l4"):
        NodePool("a", accelerator="h900")
    with pytest.raises(ValueError, match="gpus_per_node is 0"):
        NodePool("a", gpus_per_node=0)
    with pytest.raises(ValueError, match="min_nodes 3 and max_nodes 2"):
        NodePool("a", min_nodes=3, max_nodes=2)
