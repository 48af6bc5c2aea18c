"""What a journey breaks is mended after it, the latest first, and only once."""

from typing import Any

from kindscene.installation import Installation
from kindscene.troubles import Troubles
from tests.unit.kindscene.worlds import FakeInstallation

NODE = "/api/v1/nodes/n1"


def _troubles() -> tuple[Troubles, FakeInstallation]:
    installation: Any = FakeInstallation()
    made: Installation = installation
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"conditions": conditions, "allocatable": {"nvidia.com/gpu": "8"}}
    installation.cluster.fake.objects[NODE] = {"spec": {}, "status": status}
    return Troubles(made), installation


def test_all_is_mended_in_reverse() -> None:
    troubles, installation = _troubles()
    troubles.upgrade("replicas=2")
    troubles.stop_node("n1")
    troubles.delete_prometheus()
    installation.steps.clear()
    troubles.undo()
    assert installation.steps == [("prometheus",), ("start", "n1"), ("gpus",), ("install",)]


def test_what_the_journey_mended_itself_is_left_alone() -> None:
    troubles, installation = _troubles()
    troubles.stop_kubelet("n1")
    troubles.start_kubelet("n1")
    assert installation.steps == [
        ("n1", "systemctl", "stop", "kubelet"),
        ("n1", "systemctl", "start", "kubelet"),
        ("gpus",),
    ]
    troubles.undo()
    assert len(installation.steps) == 3


def test_a_drained_node_takes_pods_again() -> None:
    troubles, installation = _troubles()
    troubles.drain("n1")
    troubles.undo()
    assert [call[:2] for call in installation.cluster.calls] == [("drain", "n1"), ("uncordon", "n1")]


def test_a_stranger_takes_a_whole_node_and_goes() -> None:
    troubles, installation = _troubles()
    troubles.hold_gpus("l40s")
    (pod,) = installation.cluster.applied
    assert pod["spec"]["nodeSelector"] == {"gpu-pool": "l40s"}
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8"
    troubles.undo()
    assert installation.cluster.calls[-1][:3] == ("delete", "pod", pod["metadata"]["name"])


def test_a_node_with_taints_of_its_absence_is_not_back() -> None:
    troubles, installation = _troubles()
    node = installation.cluster.fake.objects[NODE]
    assert troubles.node_back("n1")
    node["spec"] = {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}
    assert not troubles.node_back("n1")
    node["spec"] = {"taints": [{"key": "dedicated", "effect": "NoSchedule"}]}
    assert troubles.node_back("n1")
    node["status"]["conditions"][0]["status"] = "Unknown"
    assert not troubles.node_back("n1")
