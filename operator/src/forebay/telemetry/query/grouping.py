"""Sort pools into groups that share queries, and say for every pool under which labels its answers will be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from forebay.flow.fleet import PoolKey, VariantKey
from forebay.telemetry.query.dialect import Dialect, find
from forebay.telemetry.query.pod_names import asked_separately, pods_matcher, reduced_name, replica_is_a_group
from forebay.telemetry.query.promql import Matcher, equal, label_name, one_of
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget, PoolTarget, WorkloadTarget
from forebay.telemetry.transport.answer import Labels

_MOST_NAMED_VALUES = 50
"""Up to so many namespaces are named in a query; beyond, it reads all of them."""
_MOST_SEPARATE = 20
_MOST_SELECTIONS = 8
"""Sets of label names and prefixes that pools of one namespace may select by: each costs queries of its own."""

WORKLOAD = "forebay_workload"
"""Label of the answers that holds the workload's name, where no label of the series does."""

GroupId = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SharedQueries:
    """Pools that share queries."""

    dialect: Dialect
    labels: tuple[str, ...]
    """Labels by which series are told apart; for engines, the workload follows them."""
    matchers: tuple[Matcher, ...] = ()
    workloads: bool = True
    """Engines: series are reduced to workloads. Gateways: to ``labels`` alone."""
    separate: tuple[WorkloadTarget, ...] = ()
    """Workloads whose pods cannot be found by the common rule; ``()``: the common rule."""
    replicas_are_groups: bool = False
    """One replica is a group of pods: their series are those of one engine, or of its ranks."""

    def answer_labels(self, workload_label: str | None) -> tuple[str, ...]:
        """Return the labels of the answers, in order."""
        return (*self.labels, workload_label or WORKLOAD) if self.workloads else self.labels


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answers about one workload or gateway are."""

    group: GroupId
    key: Labels


@dataclass(slots=True)
class PoolPlace:
    """Where the answers about one pool are; ``problem`` says why there are none."""

    target: PoolTarget
    workloads: dict[VariantKey, Place] = field(default_factory=dict)
    """By variant."""
    gateway: Place | None = None
    problem: str = ""
    gateway_problem: str = ""

    @property
    def places(self) -> tuple[Place, ...]:
        """Return all places of this pool."""
        gateway = () if self.gateway is None else (self.gateway,)
        return (*self.workloads.values(), *gateway)


@dataclass(slots=True)
class Plan:
    """The groups of one round, and every pool's place in them."""

    groups: dict[GroupId, SharedQueries] = field(default_factory=dict)
    pools: dict[PoolKey, PoolPlace] = field(default_factory=dict)
    members: dict[GroupId, list[PoolTarget]] = field(default_factory=dict)


@dataclass(slots=True)
class _Draft:
    dialect: Dialect
    labels: tuple[str, ...]
    workloads: bool
    replicas_are_groups: bool = False
    values: dict[str, set[str]] = field(default_factory=dict)
    separate: list[WorkloadTarget] = field(default_factory=list)


def make_plan(targets: Sequence[PoolTarget], settings: PrometheusSettings) -> Plan:
    """Sort ``targets`` into groups. What is wrong with one pool stays with that pool."""
    plan = Plan()
    drafts: dict[GroupId, _Draft] = {}
    by_pod_name = settings.workload_label is None
    separately = asked_separately(targets) if by_pod_name else frozenset()
    selections: dict[str, set[tuple[str, ...]]] = {}
    for target in targets:
        place = plan.pools.setdefault(target.key, PoolPlace(target))
        try:
            dialect = find(target.engine, "engine").prefixed(target.metric_prefix)
            extra = _extra_labels(target.labels, settings)
            _admit(selections, target, ("engine", target.metric_prefix, *extra))
        except ValueError as error:
            place.problem = str(error)
        else:
            for workload in target.workloads:
                separate = (target.key, workload.variant) in separately
                group = _engine_group(drafts, dialect, extra, target, workload, settings, separate=separate)
                name = reduced_name(workload) if by_pod_name and not separate else None
                values = tuple(target.labels[label] for label in extra)
                place.workloads[workload.variant] = Place(
                    group, (target.key.namespace, *values, name or workload.name)
                )
                _join(plan, group, target)
        if target.gateway is not None:
            _place_gateway(plan, drafts, selections, target, target.gateway, place)
    _tell_shared_gateways(plan)
    plan.groups = {group: _finished(draft, settings) for group, draft in drafts.items()}
    return plan


def _admit(selections: dict[str, set[tuple[str, ...]]], target: PoolTarget, selection: tuple[str, ...]) -> None:
    """Note what a pool selects its series by; refuse what would give its namespace too many queries."""
    seen = selections.setdefault(target.key.namespace, set())
    if selection not in seen and len(seen) >= _MOST_SELECTIONS:
        raise ValueError(
            f"The pools of namespace {target.key.namespace} select series in {_MOST_SELECTIONS} ways already: use"
            " the label names and the metric prefix of another one of them."
        )
    seen.add(selection)


def _extra_labels(labels: Mapping[str, str], settings: PrometheusSettings) -> tuple[str, ...]:
    reserved = {settings.namespace_label, settings.pod_label, "le", "__name__", *settings.duplicate_labels}
    reserved |= settings.match_labels.keys()
    for label in labels:
        label_name(label)
        if label in reserved:
            raise ValueError(f"The label {label!r} cannot select a pool's engines: leave it out.")
    return tuple(sorted(labels))


def _engine_group(
    drafts: dict[GroupId, _Draft],
    dialect: Dialect,
    extra: tuple[str, ...],
    target: PoolTarget,
    workload: WorkloadTarget,
    settings: PrometheusSettings,
    *,
    separate: bool,
) -> GroupId:
    are_groups = replica_is_a_group(workload)
    group: GroupId = ("engine", dialect.name, target.metric_prefix, "groups" if are_groups else "pods", *extra)
    if separate:
        group = _separate_group(drafts, group, workload)
    draft = drafts.setdefault(group, _Draft(dialect, (settings.namespace_label, *extra), True, are_groups))
    draft.values.setdefault(settings.namespace_label, set()).add(target.key.namespace)
    if separate and workload not in draft.separate:
        draft.separate.append(workload)
    return group


def _separate_group(drafts: Mapping[GroupId, _Draft], base: GroupId, workload: WorkloadTarget) -> GroupId:
    """Return the first batch of workloads with queries of their own that has room."""
    number = 0
    while True:
        group = (*base, "separate", str(number))
        draft = drafts.get(group)
        if draft is None or workload in draft.separate or len(draft.separate) < _MOST_SEPARATE:
            return group
        number += 1


def _place_gateway(
    plan: Plan,
    drafts: dict[GroupId, _Draft],
    selections: dict[str, set[tuple[str, ...]]],
    target: PoolTarget,
    gateway: GatewayTarget,
    place: PoolPlace,
) -> None:
    try:
        dialect = find(gateway.dialect, "gateway").prefixed(gateway.metric_prefix)
        names = _gateway_labels(gateway)
        _admit(selections, target, ("gateway", gateway.metric_prefix, *names))
    except ValueError as error:
        place.gateway_problem = str(error)
        return
    group = ("gateway", dialect.name, gateway.metric_prefix, *names)
    draft = drafts.setdefault(group, _Draft(dialect, names, workloads=False))
    for name in names:
        draft.values.setdefault(name, set()).add(gateway.labels[name])
    place.gateway = Place(group, tuple(gateway.labels[name] for name in names))
    _join(plan, group, target)


def _gateway_labels(gateway: GatewayTarget) -> tuple[str, ...]:
    if not gateway.labels:
        raise ValueError("A gateway needs at least one label that selects this pool's series.")
    if {"le", "__name__"} & set(gateway.labels):
        raise ValueError("The labels 'le' and '__name__' cannot select a gateway's series: leave them out.")
    return tuple(sorted(label_name(label) for label in gateway.labels))


def _join(plan: Plan, group: GroupId, target: PoolTarget) -> None:
    members = plan.members.setdefault(group, [])
    if not members or members[-1] is not target:
        members.append(target)


def _tell_shared_gateways(plan: Plan) -> None:
    """Refuse to count the same gateway series for two pools: the demand of both would be wrong."""
    owners: dict[Place, PoolPlace] = {}
    for place in plan.pools.values():
        if place.gateway is None:
            continue
        first = owners.setdefault(place.gateway, place)
        if first is not place:
            first.gateway_problem = _shared_with(place)
            place.gateway_problem = _shared_with(first)


def _shared_with(other: PoolPlace) -> str:
    return f"The pool {other.target.key} selects the same gateway series; add a label that tells them apart."


def _finished(draft: _Draft, settings: PrometheusSettings) -> SharedQueries:
    matchers: list[Matcher] = [
        *equal(settings.match_labels),
        *(
            one_of(label, values)
            for label, values in sorted(draft.values.items())
            if len(values) <= _MOST_NAMED_VALUES and "" not in values
        ),
    ]
    if draft.separate:
        pods = "|".join(pods_matcher(workload, settings.pod_label).value for workload in draft.separate)
        matchers.append(Matcher(settings.pod_label, "=~", pods))
    return SharedQueries(
        draft.dialect,
        draft.labels,
        tuple(matchers),
        draft.workloads,
        tuple(draft.separate),
        draft.replicas_are_groups,
    )
