"""Other writers: decisions are respected, manifests corrected, and what comes back too often is left alone."""

from itertools import pairwise
from typing import Any

import pytest

from forebay.actuation.targets import TargetRef
from forebay.flow.kinds import BY_KIND
from forebay.runtime.cluster.writes import LastWrite, Writes
from forebay.runtime.watch.workloads import WorkloadRecord, parse_workload

NOW = 1_795_132_800.0
OURS = "forebay:forebay-system/forebay"
CHAT = TargetRef("serving", "apps/v1", "Deployment", "chat")


class Cluster:
    """A Deployment that several write to, and what we make of it."""

    def __init__(self, objects: Any) -> None:
        self.objects, self.version, self.now = objects, 1, NOW
        self.writes = Writes(600.0, OURS)
        self.workload = self.wrote(8, OURS, subresource="scale")
        self.writes.last[CHAT] = LastWrite(8, "0", NOW)

    def wrote(self, replicas: int, manager: str, **how: str) -> WorkloadRecord:
        """Somebody sets the count."""
        self.version += 1
        fields = [{"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}, **how}]
        body = self.objects.deployment("chat", replicas, managedFields=fields, resourceVersion=str(self.version))
        self.workload = parse_workload(BY_KIND["Deployment"], body)
        return self.workload

    def we_write(self, replicas: int) -> None:
        self.writes.last[CHAT] = LastWrite(replicas, self.workload.resource_version, self.now)
        self.wrote(replicas, OURS, subresource="scale")

    def verdict(self, later: float = 15.0) -> tuple[str, bool] | None:
        """Return what we find in the next round: its code, and whether we keep our hands off."""
        self.now += later
        found = self.writes.judge(self.workload, self.now)
        return None if found is None else (found.code, found.hands_off)


@pytest.fixture
def cluster(objects: Any) -> Cluster:
    return Cluster(objects)


MANIFESTS = [
    {"manager": "helm", "operation": "Update"},
    {"manager": "kubectl-client-side-apply", "operation": "Update"},
    {"manager": "kserve-controller", "operation": "Update"},
    {"manager": "argocd-controller", "operation": "Apply"},
]


@pytest.mark.parametrize("how", MANIFESTS, ids=lambda how: how["manager"])
def test_a_manifest_is_corrected_at_once(cluster: Cluster, how: dict[str, str]) -> None:
    """Protects: an upgrade reset 6 replicas to 1 under load, and our write came back ten minutes later."""
    cluster.wrote(1, **how)
    assert cluster.verdict() == ("Reverted", False)
    message = getattr(cluster.writes.judge(cluster.workload, cluster.now), "message", "")
    assert how["manager"] in message
    assert "leave spec.replicas out" in message


def test_a_person_is_respected_for_a_while_and_then_taken_over(cluster: Cluster) -> None:
    cluster.wrote(3, "kubectl", operation="Update", subresource="scale")
    assert cluster.verdict() == ("OtherWriter", True)
    assert cluster.verdict(580.0) == ("OtherWriter", True)
    assert cluster.verdict(30.0) is None
    assert cluster.writes.last[CHAT].replicas == 3


def test_a_takeover_is_forgotten_once_we_own_the_field(cluster: Cluster) -> None:
    """Protects: the same person's next decision on the same count was not respected at all."""
    cluster.wrote(3, "kubectl", subresource="scale")
    cluster.verdict()
    cluster.verdict(600.0)
    cluster.we_write(8)
    assert cluster.verdict() is None
    cluster.wrote(3, "kubectl", subresource="scale")
    assert cluster.verdict() == ("OtherWriter", True)


def heal(cluster: Cluster, rounds: int) -> list[bool]:
    """Argo CD heals itself after each of our writes; return in which rounds we wrote."""
    wrote = []
    for _ in range(rounds):
        if cluster.workload.writers[0].manager == OURS:
            cluster.wrote(2, "argocd-controller", operation="Apply")
        verdict = cluster.verdict()
        assert verdict is not None
        wrote.append(not verdict[1])
        if not verdict[1]:
            cluster.we_write(8)
    return wrote


def test_what_is_reverted_again_and_again_is_given_up_for_longer_and_longer(cluster: Cluster) -> None:
    """Protects: 120 writes in 40 minutes, each of which started and killed GPU pods."""
    wrote = heal(cluster, rounds=4 * 60 * 4)
    assert sum(wrote) < 20
    gaps = [index for index, this in enumerate(wrote) if this]
    longest = max(later - earlier for earlier, later in pairwise(gaps))
    assert longest * 15 >= 3600, "the window has grown"


def test_upgrades_that_are_far_apart_are_each_corrected(cluster: Cluster) -> None:
    for _ in range(10):
        cluster.wrote(1, "helm", operation="Update")
        assert cluster.verdict() == ("Reverted", False)
        cluster.we_write(8)
        assert cluster.verdict(3600.0) is None


def test_our_own_write_that_the_cache_has_not_seen_is_no_conflict(cluster: Cluster) -> None:
    cluster.wrote(1, "helm", operation="Update")
    cluster.writes.last[CHAT] = LastWrite(8, cluster.workload.resource_version, NOW)
    assert cluster.verdict() is None


def test_another_release_keeps_what_it_wrote_first(cluster: Cluster) -> None:
    """Protects: two releases flipped one Deployment between 3 and 6 every few seconds."""
    cluster.writes.last.clear()
    cluster.wrote(3, "forebay:team-b/forebay", subresource="scale")
    assert cluster.verdict() == ("SharedTarget", True)
    assert cluster.verdict(7200.0) == ("SharedTarget", True)
    cluster.wrote(3, "kubectl", subresource="scale")
    assert cluster.verdict() is None, "handed over"


def test_a_manifest_that_agrees_with_us_is_nobodys_conflict(cluster: Cluster) -> None:
    cluster.wrote(8, "argocd-controller", operation="Apply")
    assert cluster.verdict() is None


def test_a_count_that_no_manifest_ever_had_is_changed_by_decisions_only(cluster: Cluster, objects: Any) -> None:
    """Protects a person's kubectl scale: a real API server notes no writer of such a count."""

    def count(replicas: int) -> None:
        cluster.version += 1
        body = objects.deployment("chat", replicas, resourceVersion=str(cluster.version))
        cluster.workload = parse_workload(BY_KIND["Deployment"], body)

    cluster.we_write(8)
    count(8)
    assert cluster.verdict() is None, "our own"
    count(3)
    assert cluster.verdict() == ("OtherWriter", True)
    assert cluster.verdict(600.0) is None
    cluster.writes.last[CHAT] = LastWrite(8)
    assert cluster.verdict() is None, "what an earlier process wrote may be newer than what it told of"


def test_a_status_that_tells_of_endless_reversions_costs_nothing() -> None:
    """Protects the process: a status is written by whoever may write it, and a number in it made a list."""
    writes = Writes(600.0, OURS)
    writes.recall_reversions(CHAT, 2**31 - 1, NOW + 60.0, NOW)
    found = writes.reversions[CHAT]
    assert (len(found.at_seconds), found.window_seconds) == (100, 7200.0)
