"""Who else sets the replicas of a target, and how."""

from typing import Any

import pytest

from forebay.actuation.conflicts import (
    Autoscaler,
    Way,
    Writer,
    autoscaler_conflict,
    parse_time,
    replica_writers,
)
from forebay.actuation.kube import field_manager
from forebay.actuation.targets import TargetRef

CHAT = TargetRef("serving", "apps/v1", "Deployment", "chat")


def test_an_hpa_on_the_target_is_named() -> None:
    beta = TargetRef("serving", "apps/v1beta2", "Deployment", "chat")
    elsewhere = TargetRef("other", "apps/v1", "Deployment", "chat")
    hpas = [Autoscaler("HorizontalPodAutoscaler", "mine", beta), Autoscaler("ScaledObject", "far", elsewhere)]
    assert "HorizontalPodAutoscaler mine also scales" in (autoscaler_conflict(CHAT, hpas) or "")
    assert autoscaler_conflict(CHAT, hpas[1:]) is None


def entry(manager: str, time: str | None, field: str = "f:replicas") -> dict[str, Any]:
    stamp = {"time": time} if time else {}
    return {"manager": manager, "fieldsV1": {"f:spec": {field: {}}}, **stamp}


def test_who_set_the_replicas_is_read_from_managed_fields() -> None:
    old, new = entry("old", "2026-11-20T09:00:00Z"), entry("argo", "2026-11-20T10:00:00Z")
    other = entry("helm", "2026-11-20T11:00:00Z", "f:template")
    assert [writer.manager for writer in replica_writers([old, new, other, {"manager": "odd"}])] == ["argo", "old"]
    assert replica_writers([other]) == ()
    by_scale = entry("kubectl", None)  # writes through /scale carry no time
    assert replica_writers([by_scale, new])[0].manager == "kubectl"


@pytest.mark.parametrize(
    ("more", "way"),
    [
        ({"manager": "kubectl", "operation": "Update", "subresource": "scale"}, Way.DECISION),
        ({"manager": "keda-operator", "operation": "Update", "subresource": "scale"}, Way.DECISION),
        ({"manager": "kubectl-edit", "operation": "Update"}, Way.DECISION),
        ({"manager": "kubectl-client-side-apply", "operation": "Update"}, Way.MANIFEST),
        ({"manager": "kubectl", "operation": "Apply"}, Way.MANIFEST),
        ({"manager": "argocd-controller", "operation": "Apply"}, Way.MANIFEST),
        ({"manager": "helm", "operation": "Update"}, Way.MANIFEST),
        ({"manager": "kserve-controller", "operation": "Update"}, Way.MANIFEST),
    ],
)
def test_a_decision_is_told_from_a_manifest(more: dict[str, str], way: Way) -> None:
    (writer,) = replica_writers([{**entry("x", None), **more}])
    assert writer.way is way


@pytest.mark.parametrize(
    ("manager", "is_forebay"),
    [(field_manager("serving", "forebay"), True), ("forebay", True), ("forebay-like", False), ("helm", False)],
)
def test_releases_of_forebay_know_each_other(manager: str, *, is_forebay: bool) -> None:
    assert Writer(manager, Way.DECISION).is_forebay is is_forebay
    assert len(field_manager("n" * 63, "f" * 63)) <= 128


def test_times_that_cannot_be_read_are_none() -> None:
    assert parse_time("2026-11-20T00:00:00Z") == 1_795_132_800.0
    assert parse_time("yesterday") is None
    assert parse_time(None) is None
