"""The operator's own metrics, on a registry of its own: base units, bounded labels, gone with their objects."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from forebay import __version__
from forebay.actuation.providers.sight import NodeState
from forebay.flow.decision import PoolDecision
from forebay.flow.fleet import PoolKey
from forebay.flow.observation import PoolObservation
from forebay.runtime.cluster.look import NodePoolLook

_ROUND_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0)
_LAG_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0)


class Metrics:
    """Counters, histograms and gauges of one operator process; also the telemetry's meter."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        Gauge("forebay_build_info", "Version of the operator.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        self.leader = Gauge("forebay_leader", "1 while this process holds the lease.", registry=registry)
        self.round_seconds = Histogram(
            "forebay_round_duration_seconds",
            "Duration of a control round by step; step `all` is the whole round.",
            ["step"],
            buckets=_ROUND_BUCKETS,
            registry=registry,
        )
        self.rounds = Counter(
            "forebay_rounds", "Control rounds by outcome: ok or failed.", ["outcome"], registry=registry
        )
        self.pause_failures = Counter(
            "forebay_pause_failures",
            "Work between two rounds that failed, by kind: figures, look-up, past, forecaster or states.",
            ["piece"],
            registry=registry,
        )
        self.last_round = Gauge(
            "forebay_last_round_timestamp_seconds", "Unix time of the last completed round.", registry=registry
        )
        self.lag_seconds = Histogram(
            "forebay_event_loop_lag_seconds",
            "How late the event loop runs what is due.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self.decisions = Counter(
            "forebay_decisions", "Decisions by result: out, in, none or held.", ["result"], registry=registry
        )
        self.scale_writes = Counter(
            "forebay_scale_writes", "Writes of /scale by result.", ["result"], registry=registry
        )
        self.status_writes = Counter(
            "forebay_status_writes",
            "Writes of a status by kind and result.",
            ["kind", "result"],
            registry=registry,
        )
        self.events = Counter(
            "forebay_events_posted", "Kubernetes events by result.", ["result"], registry=registry
        )
        self.pool_errors = Counter(
            "forebay_pool_errors", "Pools skipped in a round, by reason.", ["reason"], registry=registry
        )
        self.invalid = Gauge(
            "forebay_invalid_resources",
            "Resources that cannot be used as they are written, by kind.",
            ["kind"],
            registry=registry,
        )
        self.warming = Gauge(
            "forebay_pools_warming", "Pools that wait to be warmed up from history.", registry=registry
        )
        self.watch_failures = Counter(
            "forebay_watch_failures",
            "Failures of watches after which all kinds were listed and watched anew.",
            registry=registry,
        )
        self.watched = Gauge("forebay_watched_objects", "Objects in the caches.", ["kind"], registry=registry)
        self.queries = Histogram(
            "forebay_telemetry_query_duration_seconds",
            "Queries of the metrics source by kind and outcome.",
            ["kind", "outcome"],
            buckets=_ROUND_BUCKETS,
            registry=registry,
        )
        self.samples = Counter(
            "forebay_telemetry_samples", "Samples by kind and use.", ["kind", "use"], registry=registry
        )
        self.abandoned = Counter(
            "forebay_telemetry_queries_abandoned",
            "Queries that were still running when their time was up.",
            ["kind"],
            registry=registry,
        )
        self.breaker_open = Gauge(
            "forebay_telemetry_breaker_open", "1 while the metrics source is not even asked.", registry=registry
        )
        self._pools = PoolGauges(registry)
        self._node_pools = NodePoolGauges(registry)

    # The telemetry's meter.

    def query_finished(self, kind: str, seconds: float, outcome: str) -> None:
        """Count one query of the metrics source."""
        self.queries.labels(kind, outcome).observe(seconds)

    def samples_read(self, kind: str, usable: int, rejected: int) -> None:
        """Count the samples of one answer."""
        self.samples.labels(kind, "usable").inc(usable)
        self.samples.labels(kind, "rejected").inc(rejected)

    def breaker_changed(self, state: str) -> None:
        """Take note of the circuit breaker's new state."""
        self.breaker_open.set(0.0 if state == "closed" else 1.0)

    def query_abandoned(self, kind: str) -> None:
        """Count a query whose thread outlived it."""
        self.abandoned.labels(kind).inc()

    # Gauges per object.

    def show_pool(self, observed: PoolObservation, decision: PoolDecision, usd_per_hour: float | None) -> None:
        """Set the gauges of one pool, whose running replicas cost ``usd_per_hour``."""
        self._pools.show(observed, decision, usd_per_hour)

    def show_node_pool(self, look: NodePoolLook) -> None:
        """Set the gauges of one node pool."""
        self._node_pools.show(look)

    def keep_only(self, pools: Iterable[PoolKey], node_pools: Iterable[str]) -> None:
        """Remove the gauges of objects that are gone."""
        self._pools.keep_only(pools)
        self._node_pools.keep_only(node_pools)

    def exposition(self) -> bytes:
        """Return all metrics in the OpenMetrics text format; call it off the event loop."""
        rendered: bytes = generate_latest(self.registry)  # type: ignore[no-untyped-call]
        return rendered


class PoolGauges(Collector):
    """Gauges per pool and role: a fixed number of series per pool, none per pod.

    They are made when somebody asks for them, from the last round's values: tens of thousands of series that are
    set in every round would cost more than a decision does.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._shown: dict[PoolKey, tuple[PoolObservation, PoolDecision, float | None]] = {}
        registry.register(self)

    def show(self, observed: PoolObservation, decision: PoolDecision, usd_per_hour: float | None) -> None:
        """Show one pool; what is unknown has no sample, rather than a zero."""
        self._shown[decision.key] = (observed, decision, usd_per_hour)

    def keep_only(self, pools: Iterable[PoolKey]) -> None:
        """Forget the pools that are gone."""
        for key in self._shown.keys() - set(pools):
            del self._shown[key]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return all gauges."""
        role = ("namespace", "pool", "role")
        pool = ("namespace", "pool")
        ready = GaugeMetricFamily("forebay_pool_replicas_ready", "Ready replicas.", labels=role)
        starting = GaugeMetricFamily(
            "forebay_pool_replicas_starting", "Replicas on their way to ready.", labels=role
        )
        parked = GaugeMetricFamily(
            "forebay_pool_replicas_parked", "Replicas out of traffic, paid for.", labels=role
        )
        desired = GaugeMetricFamily(
            "forebay_pool_replicas_desired", "Replicas that the targets ask for in traffic.", labels=role
        )
        recommended = GaugeMetricFamily(
            "forebay_pool_replicas_recommended", "Replicas that Forebay would have.", labels=role
        )
        demand = GaugeMetricFamily("forebay_pool_demand_requests_per_second", "Arrivals per second.", labels=pool)
        forecasts = GaugeMetricFamily(
            "forebay_pool_forecast_requests_per_second",
            "Forecast arrivals per second at the lead time, by quantile.",
            labels=(*pool, "quantile"),
        )
        attainment = GaugeMetricFamily(
            "forebay_pool_slo_attainment_ratio",
            "Share of requests that met the SLO, over an hour, a day and four weeks.",
            labels=(*pool, "window"),
        )
        burn = GaugeMetricFamily(
            "forebay_pool_slo_burn_rate",
            "Requests that missed the SLO over those that the objective allows.",
            labels=(*pool, "window"),
        )
        actions = GaugeMetricFamily(
            "forebay_pool_actions_last_hour", "Changes of a role's targets in the last hour.", labels=pool
        )
        cancelled = GaugeMetricFamily(
            "forebay_pool_cancelled_last_hour",
            "Replicas taken back before they were ready, in the last hour.",
            labels=pool,
        )
        cost = GaugeMetricFamily(
            "forebay_pool_cost_usd_per_hour", "Cost of the running replicas per hour.", labels=pool
        )
        recommended_cost = GaugeMetricFamily(
            "forebay_pool_recommended_cost_usd_per_hour", "Cost of the recommended replicas per hour.", labels=pool
        )
        held = GaugeMetricFamily("forebay_pool_held", "1 while no replica may be released.", labels=pool)
        for key, (observed, decision, usd_per_hour) in list(self._shown.items()):
            where = (key.namespace, key.name)
            for each in dict.fromkeys(variant.role for variant in observed.variants):
                mine = [variant for variant in observed.variants if variant.role is each]
                labels = (*where, each.value)
                ready.add_metric(labels, sum(variant.ready for variant in mine))
                starting.add_metric(labels, sum(len(variant.starting) for variant in mine))
                parked.add_metric(labels, sum(len(variant.parked) for variant in mine))
                desired.add_metric(labels, sum(variant.desired for variant in mine))
                recommended.add_metric(labels, decision.desired(each))
            _add(demand, where, decision.demand_requests_per_second)
            for name, window in decision.windows.items():
                attainment.add_metric((*where, name), window.attainment)
                burn.add_metric((*where, name), window.burn_rate)
            actions.add_metric(where, decision.actions_last_hour)
            cancelled.add_metric(where, decision.cancelled_last_hour)
            _add(cost, where, usd_per_hour)
            _add(recommended_cost, where, decision.usd_per_hour)
            held.add_metric(where, float(decision.held))
            forecast = next(iter(decision.forecasts.values()), None)
            if forecast is not None:
                forecasts.add_metric((*where, "0.5"), forecast.at_horizon.q50)
                forecasts.add_metric((*where, "0.9"), forecast.at_horizon.q90)
                forecasts.add_metric((*where, "0.99"), forecast.at_horizon.q99)
        replicas = (ready, starting, parked, desired, recommended)
        return (*replicas, demand, forecasts, attainment, burn, actions, cancelled, cost, recommended_cost, held)


def _add(family: GaugeMetricFamily, labels: tuple[str, ...], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)


class NodePoolGauges:
    """Gauges per node pool."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gpus = Gauge(
            "forebay_node_pool_gpus", "GPUs by state: usable or free.", ["node_pool", "state"], registry=registry
        )
        self._lead_time = Gauge(
            "forebay_node_pool_lead_time_seconds",
            "Pod pending to node usable, by quantile.",
            ["node_pool", "quantile"],
            registry=registry,
        )
        self._nodes = Gauge(
            "forebay_node_pool_nodes",
            "Nodes by state: requested, launched, registered, usable, draining or stuck.",
            ["node_pool", "state"],
            registry=registry,
        )
        self._idle = Gauge(
            "forebay_node_pool_idle_nodes",
            "Usable nodes of which no pod holds GPUs, beyond those that are held warm.",
            ["node_pool"],
            registry=registry,
        )
        self._cost = Gauge(
            "forebay_node_pool_cost_usd_per_hour",
            "What the nodes cost in an hour.",
            ["node_pool"],
            registry=registry,
        )
        self._blocked = Gauge(
            "forebay_node_pool_blocked", "1 while no capacity is expected of it.", ["node_pool"], registry=registry
        )
        self._labels: dict[str, set[tuple[Gauge, tuple[str, ...]]]] = {}

    def show(self, look: NodePoolLook) -> None:
        """Set the gauges of one node pool; a cost that is not known has no sample."""
        observed, states, usd = look.observed, look.situation.states, look.usd_per_hour
        name = observed.name
        values: dict[tuple[Gauge, tuple[str, ...]], float] = {
            **{(self._nodes, (name, state.value)): float(states.count(state)) for state in NodeState},
            (self._idle, (name,)): float(look.idle_nodes),
            (self._gpus, (name, "usable")): float(observed.usable_gpus),
            (self._gpus, (name, "free")): float(observed.free_gpus),
            (self._lead_time, (name, "0.5")): observed.lead_time_p50_seconds,
            (self._lead_time, (name, "0.9")): observed.lead_time_p90_seconds,
            (self._blocked, (name,)): float(observed.blocked_until_seconds is not None),
        }
        if usd is not None:
            values[self._cost, (name,)] = usd
        for (gauge, labels), value in values.items():
            gauge.labels(*labels).set(value)
        _remove(self._labels.get(name, set()) - values.keys())
        self._labels[name] = set(values)

    def keep_only(self, names: Iterable[str]) -> None:
        """Remove the series of node pools that are gone."""
        for name in self._labels.keys() - set(names):
            _remove(self._labels.pop(name))


def _remove(series: Iterable[tuple[Gauge, tuple[str, ...]]]) -> None:
    for gauge, labels in series:
        gauge.remove(*labels)
