"""Alerts and dashboard as Prometheus itself judges them: promtool parses every expression and plays the alerts.

The expressions are those that the chart renders for a release, so that the stories also show that the series of
another release neither silence nor raise an alert.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.binaries import Binaries
from devcluster.errors import DevClusterError
from tests.cluster.chart_helm import CHART, render

JOB = 'job="forebay"'
OTHER = 'job="another"'


@pytest.fixture(scope="module")
def promtool() -> str:
    try:
        return str(Binaries.from_environment().promtool())
    except DevClusterError as error:
        pytest.skip(f"there is no promtool on PATH and none could be built: {error}")


@pytest.fixture(scope="module")
def rules() -> dict[str, Any]:
    """The rules of a release that has a ServiceMonitor."""
    documents = render({"prometheusRule": {"enabled": True}, "serviceMonitor": {"enabled": True}})
    rule = next(item for item in documents if item["kind"] == "PrometheusRule")
    spec: dict[str, Any] = rule["spec"]
    return spec


def run(promtool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60, check=False)


def as_file(path: Path, document: object) -> str:
    path.write_text(yaml.safe_dump(document))
    return str(path)


@dataclass(frozen=True, slots=True)
class Story:
    """Series, one value a minute in promtool's notation, and when an alert begins to fire.

    Attributes:
        alert: which one.
        series: name and labels, and values.
        quiet_at: a time at which it must not fire (yet).
        fires_at: a time at which it does.
        labels: of the alert that fires, besides its severity.
        says: the summary.
    """

    alert: str
    series: dict[str, str]
    quiet_at: str
    fires_at: str
    says: str
    labels: dict[str, str]


STORIES: Sequence[Story] = (
    Story(
        "ForebayHasNoLeader",
        {
            f'forebay_leader{{{JOB},pod="a"}}': "0 1 1 1 1 0x10",
            f'forebay_leader{{{JOB},pod="b"}}': "0x20",
            f"forebay_leader{{{OTHER}}}": "1x20",
        },
        "6m",
        "7m",
        "No Forebay replica leads, so nothing is scaled.",
        {},
    ),
    Story(
        "ForebayRoundsStalled",
        {
            f"forebay_last_round_timestamp_seconds{{{JOB}}}": "0+60x4 240x20",
            f"forebay_last_round_timestamp_seconds{{{OTHER}}}": "0+60x20",
        },
        "7m",
        "8m",
        "Forebay completed no round for 4m 0s, so nothing is scaled.",
        {},
    ),
    Story(
        "ForebayRoundsFail",
        {
            f'forebay_rounds_total{{{JOB},outcome="failed"}}': "0 0 0+1x30",
            f'forebay_rounds_total{{{JOB},outcome="ok"}}': "0+4x30",
        },
        "12m",
        "14m",
        "Rounds of Forebay fail.",
        {},
    ),
    Story(
        "ForebayRoundsSlow",
        {
            f'forebay_round_duration_seconds_bucket{{{JOB},step="all",le="10"}}': "0x30",
            f'forebay_round_duration_seconds_bucket{{{JOB},step="all",le="15"}}': "0+4x30",
            f'forebay_round_duration_seconds_bucket{{{JOB},step="all",le="+Inf"}}': "0+4x30",
            f'forebay_round_duration_seconds_bucket{{{JOB},step="observe",le="+Inf"}}': "0+4x30",
        },
        "15m",
        "17m",
        "One round of Forebay in ten takes 14.5s or more.",
        {},
    ),
    Story(
        "ForebayHasNoMetrics",
        {
            f"forebay_telemetry_breaker_open{{{JOB}}}": "0 1x20",
            f"forebay_telemetry_breaker_open{{{OTHER}}}": "0x20",
        },
        "5m",
        "6m",
        "Forebay cannot read Prometheus, so pools are not scaled in.",
        {},
    ),
    Story(
        "ForebayMayNotScale",
        {
            f'forebay_scale_writes_total{{{JOB},result="Forbidden"}}': "0+1x30",
            f'forebay_scale_writes_total{{{JOB},result="Written"}}': "0+1x30",
        },
        "10m",
        "12m",
        "Forebay's writes of /scale end as Forbidden.",
        {"result": "Forbidden"},
    ),
    Story(
        "ForebayWritesConflict",
        {
            f'forebay_scale_writes_total{{{JOB},result="WriteConflict"}}': "0+1x60",
            f'forebay_scale_writes_total{{{JOB},result="Written"}}': "0+1x60",
        },
        "20m",
        "32m",
        "Counts changed under 30 of Forebay's writes within half an hour.",
        {},
    ),
    Story(
        "ForebayIgnoresResources",
        {
            f'forebay_invalid_resources{{{JOB},kind="inferencepools"}}': "0 2x30",
            f'forebay_invalid_resources{{{JOB},kind="gpunodepools"}}': "0x30",
        },
        "10m",
        "11m",
        "Forebay cannot use 2 inferencepools as they are written.",
        {"kind": "inferencepools"},
    ),
    Story(
        "ForebayPoolBurnsBudget",
        {
            f'forebay_pool_slo_burn_rate{{{JOB},namespace="serving",pool="chat",window="1h"}}': "0.5 8x30",
            f'forebay_pool_slo_burn_rate{{{JOB},namespace="serving",pool="code",window="1d"}}': "1.2x30",
        },
        "15m",
        "16m",
        "Pool serving/chat misses 8 times what its objective allows.",
        {"namespace": "serving", "pool": "chat"},
    ),
    Story(
        "ForebayPoolMissesObjective",
        {
            f'forebay_pool_slo_burn_rate{{{JOB},namespace="serving",pool="chat",window="1d"}}': "0.5 3x30",
            f'forebay_pool_slo_burn_rate{{{JOB},namespace="serving",pool="code",window="1h"}}': "3x30",
        },
        "15m",
        "16m",
        "Over a day, pool serving/chat misses 3 times what its objective allows.",
        {"namespace": "serving", "pool": "chat"},
    ),
    Story(
        "ForebayNodePoolBlocked",
        {
            f'forebay_node_pool_blocked{{{JOB},node_pool="h100"}}': "1x40",
            f'forebay_node_pool_blocked{{{JOB},node_pool="l40s"}}': "0x40",
        },
        "29m",
        "30m",
        "No capacity is expected of node pool h100.",
        {"node_pool": "h100"},
    ),
    Story(
        "ForebayNodesSlow",
        {
            f'forebay_node_pool_lead_time_seconds{{{JOB},node_pool="h100",quantile="0.9"}}': "300x1450 900x40",
            f'forebay_node_pool_lead_time_seconds{{{JOB},node_pool="l40s",quantile="0.9"}}': "300x1500",
        },
        "1460m",
        "1470m",
        "Nodes of pool h100 take 15m 0s, twice as long as a day ago.",
        {"node_pool": "h100"},
    ),
    Story(
        "ForebayNodesIdle",
        {
            f'forebay_node_pool_idle_nodes{{{JOB},node_pool="h100"}}': "0x5 2x100",
            f'forebay_node_pool_idle_nodes{{{JOB},node_pool="l40s"}}': "2x50 0x60",
        },
        "60m",
        "70m",
        "Pool h100 has 2 nodes that are paid for and were not used for an hour.",
        {"node_pool": "h100"},
    ),
)


def alerts(rules: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {alert["alert"]: alert for alert in rules["groups"][0]["rules"]}


def test_every_alert_has_its_story(rules: dict[str, Any]) -> None:
    assert {story.alert for story in STORIES} == set(alerts(rules))


def test_the_rules_are_well_formed(promtool: str, rules: dict[str, Any], tmp_path: Path) -> None:
    result = run(promtool, "check", "rules", "--lint-fatal", as_file(tmp_path / "rules.yaml", rules))
    assert result.returncode == 0, result.stderr + result.stdout
    assert f"{len(STORIES)} rules found" in result.stdout


def test_the_plain_file_is_well_formed(promtool: str) -> None:
    """Protects those who take the file without the chart."""
    result = run(promtool, "check", "rules", "--lint-fatal", str(CHART / "files" / "alerts.yaml"))
    assert result.returncode == 0, result.stderr + result.stdout


def test_the_dashboards_expressions_are_well_formed(promtool: str, tmp_path: Path) -> None:
    dashboard = json.loads((CHART / "files" / "dashboards" / "forebay.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    rules = [{"record": f"panel:{index}", "expr": text} for index, text in enumerate(expressions)]
    path = as_file(tmp_path / "panels.yaml", {"groups": [{"name": "panels", "rules": rules}]})
    result = run(promtool, "check", "rules", path)
    assert result.returncode == 0, result.stderr + result.stdout


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.alert)
def test_an_alert_fires_in_its_story(story: Story, promtool: str, rules: dict[str, Any], tmp_path: Path) -> None:
    alert = alerts(rules)[story.alert]
    # What a description says of labels and values is rendered by promtool, and compared as it stands otherwise.
    description = alert["annotations"]["description"]
    for label, value in story.labels.items():
        description = description.replace(f"{{{{ $labels.{label} }}}}", value)
    fires = {
        "exp_labels": {**alert["labels"], **story.labels},
        "exp_annotations": {"summary": story.says, "description": description},
    }
    test = {
        "rule_files": [as_file(tmp_path / "rules.yaml", rules)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in story.series.items()],
                "alert_rule_test": [
                    {"eval_time": story.quiet_at, "alertname": story.alert, "exp_alerts": []},
                    {"eval_time": story.fires_at, "alertname": story.alert, "exp_alerts": [fires]},
                ],
            }
        ],
    }
    result = run(promtool, "test", "rules", as_file(tmp_path / "test.yaml", test))
    assert result.returncode == 0, result.stdout + result.stderr
