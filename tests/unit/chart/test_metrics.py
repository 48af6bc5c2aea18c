"""Alerts, dashboard and pages speak of metrics, labels and results that the operator really has.

Whether the expressions parse and fire when they should is promtool's business, in the tests on a cluster.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase

from forebay.actuation.scale import ScaleResult
from forebay.runtime.metrics import Metrics

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "charts" / "forebay" / "files"
ALERTS: list[dict[str, Any]] = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((FILES / "dashboards" / "forebay.json").read_text())
#: Given to each target by whoever scrapes it.
OF_THE_TARGET = {"job", "instance", "pod"}
_SELECTOR = re.compile(r"(forebay_\w+)(?:\{([^}]*)\})?")
_LABELS = re.compile(r"(?:^|,)\s*(\w+)\s*[=!]")
_GROUPING = re.compile(r"\b(?:by|without) ?\(([^)]*)\)")


def series() -> dict[str, set[str]]:
    """Return the labels of every series that the operator exposes, by the series' name."""
    found: dict[str, set[str]] = {}
    for collector in set(Metrics().registry._collector_to_names):
        # A collector of our own makes its families when it is asked; the library's are families themselves.
        families = [collector] if isinstance(collector, MetricWrapperBase) else list(collector.collect())
        for family in families:
            found |= names_of_series(family, set(family._labelnames))  # type: ignore[union-attr]
    return found


def names_of_series(family: object, labels: set[str]) -> dict[str, set[str]]:
    if isinstance(family, Counter):
        return {f"{family._name}_total": labels}
    if isinstance(family, Histogram):
        name = family._name
        return {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels, f"{name}_sum": labels}
    if isinstance(family, MetricWrapperBase):
        return {family._name: labels}
    assert isinstance(family, GaugeMetricFamily), family
    return {family.name: labels}


SERIES = series()


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def check(expression: str) -> None:
    """Raise AssertionError if a name or label of an expression is not the operator's."""
    used = _SELECTOR.findall(expression)
    assert used, f"no metric of ours in {expression}"
    for name, selector in used:
        assert name in SERIES, f"{name} in {expression}"
        assert set(_LABELS.findall(selector)) <= SERIES[name] | OF_THE_TARGET, expression
    common = set.intersection(*(SERIES[name] for name, _ in used)) | OF_THE_TARGET
    for grouping in _GROUPING.findall(expression):
        assert {label.strip() for label in grouping.split(",")} <= common, expression


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alerts_use_our_metrics(alert: dict[str, Any]) -> None:
    check(alert["expr"])


@pytest.mark.parametrize("expression", dashboard_expressions())
def test_the_dashboard_uses_our_metrics(expression: str) -> None:
    check(expression)


def test_the_dashboards_choices_come_from_our_metrics() -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            expression, _, label = variable["query"].removeprefix("label_values(").rstrip(")").rpartition(", ")
            check(expression)
            assert label in SERIES[_SELECTOR.findall(expression)[0][0]]


def test_legends_name_labels_of_what_they_show() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            name = _SELECTOR.findall(target["expr"])[0][0]
            shown = set(re.findall(r"{{\s*(\w+)\s*}}", target.get("legendFormat", "")))
            assert shown <= SERIES[name] | OF_THE_TARGET, (panel["title"], shown)


def test_sentences_of_alerts_name_labels_that_are_left() -> None:
    for alert in ALERTS:
        left = {label.strip() for group in _GROUPING.findall(alert["expr"]) for label in group.split(",")}
        for sentence in alert["annotations"].values():
            assert set(re.findall(r"\$labels\.(\w+)", sentence)) <= left, alert["alert"]


def test_alerts_on_writes_name_results_that_exist() -> None:
    expressions = [alert["expr"] for alert in ALERTS if "scale_writes" in alert["expr"]]
    results = [re.findall(r'result=~?"([^"]*)"', expression) for expression in expressions]
    assert results
    for (named,) in results:
        assert set(named.split("|")) <= set(ScaleResult)


def test_every_selector_has_braces_to_put_the_release_into() -> None:
    for alert in ALERTS:
        assert re.findall(r"forebay_\w+(?!\w|\{)", alert["expr"]) == [], alert["alert"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_pages_name_metrics_that_exist(page: Path) -> None:
    unknown = set(re.findall(r"\bforebay_[a-z_]*[a-z]\b", page.read_text())) - set(SERIES)
    assert not unknown, unknown


def test_alerts_say_how_bad_it_is_and_what_to_do() -> None:
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert set(alert["annotations"]) == {"summary", "description"}
        assert "for" in alert
