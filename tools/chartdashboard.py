"""The chart's Grafana dashboard: a table of panels here, Grafana's JSON from it. `python -m chartdocs` writes it.

Gauges of pools come from the leader alone; `max` joins the series of two leaders, one after the other, into one.
"""

import json
from dataclasses import dataclass, field

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_POOL = '{namespace=~"$namespace",pool=~"$pool"}'
_WIDTH, _HEIGHT = 12, 8


@dataclass(frozen=True, slots=True)
class Panel:
    """One time series panel.

    Attributes:
        title: what it shows.
        unit: Grafana's name of the unit.
        lines: expression by legend.
        description: how to read it.
        maximum: end of the axis, where the figures have one.
    """

    title: str
    unit: str
    lines: dict[str, str]
    description: str
    maximum: float | None = None


def _of_pools(metric: str, *labels: str) -> str:
    return f"max by ({', '.join(('namespace', 'pool', *labels))}) (forebay_{metric}{_POOL})"


def _rate(metric: str, *labels: str) -> str:
    return f"sum by ({', '.join(labels)}) (rate(forebay_{metric}[5m]))"


def _quantile(quantile: float, metric: str, *labels: str) -> str:
    return f"histogram_quantile({quantile}, {_rate(f'{metric}_bucket', 'le', *labels)})"


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...] = field(default=())


ROWS = (
    Row(
        "Pools",
        (
            Panel(
                "Replicas",
                "short",
                {
                    f"{{{{namespace}}}}/{{{{pool}}}} {{{{role}}}} {what}": _of_pools(
                        f"pool_replicas_{what}", "role"
                    )
                    for what in ("ready", "starting", "desired", "recommended")
                },
                "Recommended is what Forebay would have. In mode Auto, desired follows at once, and ready "
                "a start-up later.",
            ),
            Panel(
                "Demand and forecast",
                "reqps",
                {
                    "{{namespace}}/{{pool}}": _of_pools("pool_demand_requests_per_second"),
                    "{{namespace}}/{{pool}} forecast q{{quantile}}": _of_pools(
                        "pool_forecast_requests_per_second", "quantile"
                    ),
                },
                "Arrivals, and what is forecast for the time at which a replica ordered now is ready.",
            ),
            Panel(
                "Requests that met the objective",
                "percentunit",
                {"{{namespace}}/{{pool}} {{window}}": _of_pools("pool_slo_attainment_ratio", "window")},
                "A gap means that nothing was measured, not that all was well.",
                maximum=1.0,
            ),
            Panel(
                "Cost",
                "currencyUSD",
                {"{{namespace}}/{{pool}} per hour": _of_pools("pool_cost_usd_per_hour")},
                "By the prices of the GPUNodePools.",
            ),
            Panel(
                "Held",
                "bool_yes_no",
                {"{{namespace}}/{{pool}}": _of_pools("pool_held")},
                "While a pool is held no replica is released: metrics are lost, a queue stands, or Forebay "
                "has just started. Its conditions say which.",
            ),
            Panel(
                "Resources that are ignored",
                "short",
                {"{{kind}}": "max by (kind) (forebay_invalid_resources{})"},
                "They cannot be used as written. Their conditions or the leader's log say what to change.",
            ),
        ),
    ),
    Row(
        "Node pools",
        (
            Panel(
                "GPUs",
                "short",
                {"{{node_pool}} {{state}}": "max by (node_pool, state) (forebay_node_pool_gpus{})"},
                "Usable: allocatable on nodes that are ready and untainted. Free: held by no pod.",
            ),
            Panel(
                "Lead time",
                "s",
                {
                    "{{node_pool}} q{{quantile}}": "max by (node_pool, quantile) "
                    "(forebay_node_pool_lead_time_seconds{})"
                },
                "From a pending pod to a usable node, as measured.",
            ),
            Panel(
                "Nodes",
                "short",
                {"{{node_pool}} {{state}}": "max by (node_pool, state) (forebay_node_pool_nodes{})"},
                "From the order to the end. Launched ones are on the bill; stuck ones are not counted on.",
            ),
            Panel(
                "Cost of nodes",
                "currencyUSD",
                {"{{node_pool}} per hour": "max by (node_pool) (forebay_node_pool_cost_usd_per_hour{})"},
                "What the cloud charges for the nodes that are there, full of work or not.",
            ),
            Panel(
                "Idle nodes",
                "short",
                {"{{node_pool}}": "max by (node_pool) (forebay_node_pool_idle_nodes{})"},
                "No pod holds GPUs of these, and they are not held warm.",
            ),
            Panel(
                "Given up for a while",
                "bool_yes_no",
                {"{{node_pool}}": "max by (node_pool) (forebay_node_pool_blocked{})"},
                "No capacity is expected of these; other GPU types are taken.",
            ),
        ),
    ),
    Row(
        "Operator",
        (
            Panel(
                "Leader",
                "bool_yes_no",
                {"{{pod}}": "max by (pod) (forebay_leader{})"},
                "One replica leads; a standby has full caches.",
            ),
            Panel(
                "Duration of a round, 99th percentile",
                "s",
                {"{{step}}": _quantile(0.99, "round_duration_seconds", "step")},
                "Step all is the whole round, which has to fit into operator.interval.",
            ),
            Panel(
                "Rounds",
                "cps",
                {"{{outcome}}": _rate("rounds_total", "outcome")},
                "A failed round is tried again after the interval.",
            ),
            Panel(
                "Writes",
                "cps",
                {
                    "/scale {{result}}": _rate("scale_writes_total", "result"),
                    "status of {{kind}} {{result}}": _rate("status_writes_total", "kind", "result"),
                },
                "To the API server, by what came of them.",
            ),
            Panel(
                "Queries of Prometheus, 99th percentile",
                "s",
                {"{{kind}} {{outcome}}": _quantile(0.99, "telemetry_query_duration_seconds", "kind", "outcome")},
                "By kind of query and outcome.",
            ),
            Panel(
                "Prometheus is not even asked",
                "bool_yes_no",
                {"{{pod}}": "max by (pod) (forebay_telemetry_breaker_open{})"},
                "After failures in a row. Pools keep their size meanwhile.",
            ),
            Panel(
                "Lateness of the event loop, 99th percentile",
                "s",
                {"": _quantile(0.99, "event_loop_lag_seconds")},
                "Above a second the Lease is in danger: give it more CPU.",
            ),
            Panel(
                "Objects in the caches",
                "short",
                {"{{kind}}": "max by (kind) (forebay_watched_objects{})"},
                "Memory grows with them.",
            ),
        ),
    ),
)


def dashboard() -> str:
    """Return the dashboard as Grafana imports it."""
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        _variable("namespace", "label_values(forebay_pool_held, namespace)"),
        _variable("pool", 'label_values(forebay_pool_held{namespace=~"$namespace"}, pool)'),
    ]
    document = {
        "title": "Forebay",
        "uid": "forebay",
        "schemaVersion": 39,
        "tags": ["forebay"],
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": variables},
        "panels": _panels(),
    }
    return json.dumps(document, indent=2) + "\n"


def _variable(name: str, query: str) -> dict[str, object]:
    return {
        "name": name,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": query,
        "includeAll": True,
        "multi": True,
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> list[dict[str, object]]:
    panels: list[dict[str, object]] = []
    top = 0
    for row in ROWS:
        place = {"h": 1, "w": 2 * _WIDTH, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "gridPos": place, "panels": []})
        top += 1
        for index, panel in enumerate(row.panels):
            place = {"h": _HEIGHT, "w": _WIDTH, "x": index % 2 * _WIDTH, "y": top + index // 2 * _HEIGHT}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
        top += (len(row.panels) + 1) // 2 * _HEIGHT
    return panels


def _panel(panel: Panel) -> dict[str, object]:
    defaults: dict[str, object] = {"unit": panel.unit, "min": 0}
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    targets = [
        {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend}
        for index, (legend, expression) in enumerate(panel.lines.items())
    ]
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }
