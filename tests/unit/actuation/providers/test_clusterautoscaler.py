"""Cluster Autoscaler's own word, in the form in which 1.30 and newer write it."""

from forebay.actuation.kube import ApiError
from forebay.actuation.providers.clusterautoscaler import PATH, ClusterAutoscalerReader, read_status, sight
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.sight import Cause
from forebay.actuation.providers.unasked import FixedProvider, PodDrivenProvider
from tests.unit.actuation.providers.scenes import NOW, Server, binding, situation, wish

STATUS = """\
time: 2026-11-20 00:00:10 +0000 UTC
autoscalerStatus: Running
clusterWide:
  health: {status: Healthy}
nodeGroups:
- name: gpu-h100-a
  health: {status: Healthy, cloudProviderTarget: 3, minSize: 0, maxSize: 4}
  scaleUp:
    status: Backoff
    backoffInfo:
      errorCode: OutOfResource.QUOTA_EXCEEDED
      errorMessage: "Quota NVIDIA_H100_GPUS exceeded"
    lastTransitionTime: "2026-11-20T00:00:05Z"
- name: gpu-h100-b
  health: {status: Healthy, cloudProviderTarget: 2, minSize: 0, maxSize: 2}
  scaleUp: {status: NoActivity, lastTransitionTime: "2026-11-20T00:00:00Z"}
"""


def test_a_node_group_that_backs_off_says_why() -> None:
    seen = sight(read_status(STATUS), ["gpu-h100-a", "gpu-h100-b", "gone"])
    (word,) = seen.words
    assert (word.cause, word.at_seconds) == (Cause.SOLD_OUT, NOW + 5.0)
    assert word.message == "OutOfResource.QUOTA_EXCEEDED Quota NVIDIA_H100_GPUS exceeded"
    assert (seen.launchable, seen.limit) == (1, "")
    full = sight(read_status(STATUS), ["gpu-h100-b"])
    assert (full.launchable, full.limit) == (0, "Node groups at their maximum size: gpu-h100-b.")


def test_prose_and_nonsense_are_no_node_groups() -> None:
    assert read_status("Cluster-autoscaler status at 2023-01-01:\nCluster-wide:\n  Health: Healthy") == {}
    assert read_status("a: [") == {}
    assert sight({}, ["x"]).launchable is None


async def test_the_config_map_is_read_only_where_a_node_pool_names_node_groups() -> None:
    server = Server({PATH: {"data": {"status": STATUS}}})
    provisioners = Provisioners(server)
    plain, named = binding(), binding({"podDriven": {"nodeGroups": ["gpu-h100-a"]}})
    await provisioners.read([plain], NOW)
    assert provisioners.node_groups == {}
    await provisioners.read([plain, named], NOW)
    shown = await PodDrivenProvider(provisioners).sight(named, NOW)
    assert (shown.launchable, len(shown.words)) == (1, 1)
    assert await PodDrivenProvider(provisioners).sight(plain, NOW) == await PodDrivenProvider(
        Provisioners(server)
    ).sight(plain, NOW)


async def test_a_config_map_that_may_not_be_read_is_told_with_the_right_that_is_missing() -> None:
    server = Server()
    reader = ClusterAutoscalerReader(server)
    await reader.read()
    assert "--write-status-configmap" in reader.problem
    server.failures[PATH] = ApiError("no", status=403)
    await reader.read()
    assert "rbac.nodeProviders.clusterAutoscaler" in reader.problem


async def test_what_is_fixed_is_all_there_is() -> None:
    provider = FixedProvider()
    seen = await provider.sight(binding({"type": "Fixed"}), NOW)
    assert seen.launchable == 0
    assert await provider.ensure(binding({"type": "Fixed"}), wish(9), situation(sight=seen)) == ""
