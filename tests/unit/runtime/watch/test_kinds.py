"""The table of workload kinds, and everything that has to agree with it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from forebay.api.v1alpha1.target import UNSCALABLE_KINDS
from forebay.flow.fleet import Role, VariantKey
from forebay.flow.kinds import KINDS, PodNames, RemovalOrder, WorkloadKind, workload_kind
from forebay.runtime.watch.kinds import ALL_KINDS, WORKLOAD_KINDS, Kind, watched_kind
from forebay.telemetry.query.pod_names import reduced_name
from forebay.telemetry.source import WorkloadTarget

ROOT = Path(__file__).resolve().parents[4]
CHART = ROOT / "charts" / "forebay"


def test_names_are_told_once() -> None:
    for names in ([row.kind for row in KINDS], [row.plural for row in KINDS], [row.chart_value for row in KINDS]):
        assert len(names) == len(set(names))
    assert not {row.kind for row in KINDS} & set(UNSCALABLE_KINDS)


@pytest.mark.parametrize("row", KINDS, ids=lambda row: row.kind)
def test_the_chart_has_a_value_for_each_kind(row: WorkloadKind) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert values["rbac"]["targets"][row.chart_value] is True
    assert row.chart_value in schema["properties"]["rbac"]["properties"]["targets"]["properties"]


def test_the_chart_has_no_value_without_a_kind() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values["rbac"]["targets"]) == {row.chart_value for row in KINDS}


@pytest.mark.parametrize("row", KINDS, ids=lambda row: row.kind)
def test_the_plain_install_may_watch_and_scale_each_kind(row: WorkloadKind) -> None:
    def granted(file: str) -> set[tuple[str, str, str]]:
        documents: list[Any] = list(yaml.safe_load_all((ROOT / "manifests/install/rbac" / file).read_text()))
        return {
            (group, resource, verb)
            for rule in documents[0]["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    watch = {(row.api_group, row.plural, verb) for verb in ("list", "watch")}
    assert watch <= granted("read.yaml")
    assert (row.api_group, f"{row.plural}/scale", "patch") in granted("scale.yaml")


@pytest.mark.parametrize("row", KINDS, ids=lambda row: row.kind)
def test_pods_of_each_kind_lead_back_to_it_by_their_name(row: WorkloadKind) -> None:
    assert (
        reduced_name(
            WorkloadTarget(variant=VariantKey(Role.SERVE, "v"), role=Role.SERVE, name="chat", kind=row.kind)
        )
        == "chat"
    )


def test_a_row_says_what_its_order_of_removal_needs() -> None:
    for row in KINDS:
        if row.removal is RemovalOrder.HIGHEST_ORDINAL:
            assert row.ordinal_label, row.kind
        if row.pod_names is PodNames.GROUP:
            assert row.group, row.kind


def test_each_kind_is_watched_and_what_no_cluster_must_have_is_optional() -> None:
    assert set(WORKLOAD_KINDS) <= set(ALL_KINDS)
    assert {kind for kind in WORKLOAD_KINDS if not kind.optional} == {Kind.DEPLOYMENTS, Kind.STATEFUL_SETS}
    assert watched_kind("apps/v1", "Deployment") is Kind.DEPLOYMENTS
    assert watched_kind("example.org/v1", "Deployment") is None


def test_versions_of_one_group_are_one_kind() -> None:
    assert workload_kind("apps/v1beta2", "Deployment") is workload_kind("apps/v1", "Deployment") is not None
    assert workload_kind("extensions/v1beta1", "Deployment") is None
