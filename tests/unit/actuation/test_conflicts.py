"""Conflicts: other autoscalers always count, other writers count for a while after our own write."""

from typing import Any

import pytest

from forebay.actuation.conflicts import (
    Autoscaler,
    ReplicaWriter,
    autoscaler_conflict,
    last_replica_writer,
    parse_time,
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
    ("manager", "replicas", "written_at", "now", "conflict"),
    [
        ("kubectl", 7, 100.0, 160.0, True),  # somebody changed it after us
        ("kubectl", 7, 100.0, 1000.0, False),  # long ago
        ("kubectl", 7, 200.0, 210.0, False),  # before our own write
        ("kubectl", 5, 100.0, 160.0, False),  # to what we want
        ("forebay", 7, 100.0, 160.0, False),  # ourselves
    ],
)
def test_another_writer_is_respected_for_a_while(
    manager: str, replicas: int, written_at: float, now: float, *, conflict: bool
) -> None:
    found = writer_conflict(
        CHAT,
        replicas=replicas,
        writer=ReplicaWriter(manager, 150.0),
        last_written=5,
        last_written_seconds=written_at,
        now_seconds=now,
        window_seconds=600.0,
    )
    assert (found is not None) is conflict


def test_nobody_conflicts_before_our_first_write() -> None:
    writer = ReplicaWriter("kubectl", 150.0)
    assert (
        writer_conflict(
            CHAT,
            replicas=7,
            writer=writer,
            last_written=None,
            last_written_seconds=None,
            now_seconds=151.0,
            window_seconds=600.0,
        )
        is None
    )


def test_the_last_writer_of_replicas_is_read_from_managed_fields() -> None:
    fields: list[dict[str, Any]] = [
        {"manager": "argo", "time": "2026-11-20T10:00:00Z", "fieldsV1": {"f:spec": {"f:template": {}}}},
        {"manager": "kubectl", "time": "2026-11-20T11:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "old", "time": "2026-11-20T09:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "odd"},
    ]
    writer = last_replica_writer(fields)
    assert writer is not None
    assert writer.manager == "kubectl"
    assert last_replica_writer(fields[:1]) is None


def test_times_that_cannot_be_read_are_none() -> None:
    assert parse_time("2026-11-20T00:00:00Z") == 1_795_132_800.0
    assert parse_time("yesterday") is None
    assert parse_time(None) is None
