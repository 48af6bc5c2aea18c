"""Conflicts: other autoscalers always count, other writers count for a while after our own write."""

from typing import Any

import pytest

from forebay.actuation.conflicts import (
    Autoscaler,
    autoscaler_conflict,
    parse_time,
    replica_owner,
    writer_conflict,
)
from forebay.actuation.targets import TargetRef

CHAT = TargetRef("serving", "apps/v1", "Deployment", "chat")


def test_an_hpa_on_the_target_is_named() -> None:
    beta = TargetRef("serving", "apps/v1beta2", "Deployment", "chat")
    elsewhere = TargetRef("other", "apps/v1", "Deployment", "chat")
    hpas = [Autoscaler("HorizontalPodAutoscaler", "mine", beta), Autoscaler("ScaledObject", "far", elsewhere)]
    assert "HorizontalPodAutoscaler mine also scales" in (autoscaler_conflict(CHAT, hpas) or "")
    assert autoscaler_conflict(CHAT, hpas[1:]) is None


@pytest.mark.parametrize(
    ("owner", "replicas", "now", "conflict"),
    [
        ("kubectl", 7, 160.0, True),  # somebody changed it after us
        ("kubectl", 7, 750.0, False),  # long ago
        ("kubectl", 5, 160.0, False),  # to what we want
        ("forebay", 7, 160.0, False),  # ourselves
        (None, 7, 160.0, False),
    ],
)
def test_another_writer_is_respected_for_a_while(
    owner: str | None, replicas: int, now: float, *, conflict: bool
) -> None:
    found = writer_conflict(
        CHAT,
        replicas=replicas,
        owner=owner,
        last_written=5,
        since_seconds=150.0,
        now_seconds=now,
        window_seconds=600.0,
    )
    assert (found is not None) is conflict


def entry(manager: str, time: str | None, field: str = "f:replicas") -> dict[str, Any]:
    stamp = {"time": time} if time else {}
    return {"manager": manager, "fieldsV1": {"f:spec": {field: {}}}, **stamp}


def test_the_owner_of_replicas_is_read_from_managed_fields() -> None:
    old, new = entry("old", "2026-11-20T09:00:00Z"), entry("argo", "2026-11-20T10:00:00Z")
    other = entry("helm", "2026-11-20T11:00:00Z", "f:template")
    assert replica_owner([old, new, other, {"manager": "odd"}]) == "argo"
    assert replica_owner([other]) is None
    by_scale = entry("kubectl", None)  # writes through /scale carry no time
    assert replica_owner([by_scale, new]) == "kubectl"
    assert replica_owner([by_scale, entry("forebay", None)]) == "forebay"


def test_times_that_cannot_be_read_are_none() -> None:
    assert parse_time("2026-11-20T00:00:00Z") == 1_795_132_800.0
    assert parse_time("yesterday") is None
    assert parse_time(None) is None
