"""A finished replay, and its figures as JSON or YAML."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import yaml

from forebay import __version__
from forebay.flow.fleet import Slo
from forebay.offline.replay.jobs.outcome import Outcome, RunKind
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.replay.results.floor import floor
from forebay.offline.replay.results.frontier import frontier, transferred
from forebay.offline.replay.results.verdict import ReplayVerdict, remarks, verdict

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replay:
    """A finished (or interrupted) replay."""

    scenario: Scenario
    outcomes: tuple[Outcome, ...]
    command: str
    seed: int
    traffic: str = ""
    """Where the traffic came from, in words."""
    notes: tuple[str, ...] = ()
    complete: bool = True

    @property
    def target(self) -> float:
        """Return the strictest target of the pools."""
        return self.slo.target

    @property
    def common_target(self) -> float | None:
        """Return the target of all pools, ``None`` where they differ."""
        targets = {self.scenario.fleet.pools[key].slo.target for key in self.scenario.traces}
        return targets.pop() if len(targets) == 1 else None

    @property
    def slo(self) -> Slo:
        """Return the objectives of the pool, the strictest of each where there are several."""
        slos = [self.scenario.fleet.pools[key].slo for key in self.scenario.traces]
        return Slo(
            ttft_seconds=min(slo.ttft_seconds for slo in slos),
            itl_seconds=min(slo.itl_seconds for slo in slos),
            target=max(slo.target for slo in slos),
        )

    @property
    def verdict(self) -> ReplayVerdict:
        """Return what it came to."""
        return verdict(self.outcomes, target=self.common_target)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return further sentences."""
        return remarks(self.outcomes, target=self.common_target)


def ranked(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Return those that meet the target by cost, then the others by attainment."""

    def rank(outcome: Outcome) -> tuple[bool, float]:
        score = outcome.score
        return (not score.meets_target, score.cost_usd if score.meets_target else -score.slo_attainment)

    return tuple(sorted(outcomes, key=rank))


def against_oracle(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Fill in ``cost_over_oracle`` where there is an oracle that met the target."""
    oracle = next((o for o in outcomes if o.score.name == "oracle" and o.score.meets_target), None)
    if oracle is None or oracle.score.cost_usd <= 0:
        return tuple(outcomes)
    base = oracle.score.cost_usd
    return tuple(replace(o, score=replace(o.score, cost_over_oracle=o.score.cost_usd / base)) for o in outcomes)


def as_json(replay: Replay) -> Json:
    """Return everything as plain values; a number that is not finite becomes null."""
    scenario, slo = replay.scenario, replay.slo
    made = ranked(replay.outcomes)
    found = _plain(
        {
            "version": __version__,
            "command": replay.command,
            "seed": replay.seed,
            "complete": replay.complete,
            "trace": {
                "name": scenario.name,
                "requests": scenario.requests,
                "span_seconds": scenario.span_seconds,
                "source": replay.traffic,
            },
            "slo": {"ttft_seconds": slo.ttft_seconds, "itl_seconds": slo.itl_seconds, "target": slo.target},
            "pools": {
                str(key): {
                    "requests": len(trace),
                    "ttft_seconds": scenario.fleet.pools[key].slo.ttft_seconds,
                    "itl_seconds": scenario.fleet.pools[key].slo.itl_seconds,
                    "target": scenario.fleet.pools[key].slo.target,
                    "priority": scenario.fleet.pools[key].priority,
                }
                for key, trace in scenario.traces.items()
            },
            "queue_order": scenario.queue_order.value,
            "start_up_seconds": {
                str(key): {str(variant): start.expected_seconds for variant, start in starts.items()}
                for key, starts in scenario.start_up.items()
            },
            "initial_replicas": {
                str(key): {str(variant): count for variant, count in counts.items()}
                for key, counts in scenario.initial.items()
            },
            "nodes": _nodes(scenario),
            "policies": [_policy(outcome) for outcome in made if outcome.default],
            "frontier": _frontier(replay.outcomes),
            "transferred": _transferred(replay.outcomes),
            "floor_usd": floor(scenario).usd,
            "verdict": replay.verdict.sentence,
            "result": replay.verdict.result.value,
            "remarks": list(replay.remarks),
            "notes": list(replay.notes),
        }
    )
    if not isinstance(found, dict):
        raise TypeError("a map stays a map")
    return found


def _nodes(scenario: Scenario) -> Json | None:
    """Return what was simulated of nodes."""
    if scenario.nodes is None:
        return None
    return {
        "scheduler": scenario.nodes.scoring.value,
        "node_pools": {
            name: {
                "gpus_per_node": rules.gpus_per_node,
                "lead_time_seconds": rules.lead_time.expected_seconds,
                "consolidate_after_seconds": rules.consolidate_after_seconds,
                "minimum_billed_seconds": rules.minimum_billed_seconds,
                "usd_per_node_hour": scenario.usd_per_node_hour(name),
            }
            for name, rules in scenario.nodes.rules.items()
        },
    }


def _policy(outcome: Outcome) -> Json:
    score = outcome.score
    return {
        "name": score.name,
        "title": outcome.title,
        "knob": score.knob,
        "knob_name": outcome.knob_name or None,
        "hindsight": outcome.hindsight,
        "meets_target": score.meets_target,
        "slo_attainment": score.slo_attainment,
        "worst_ten_minutes_attainment": score.worst_window_attainment,
        "ttft_p50_seconds": score.ttft_p50_seconds,
        "ttft_p99_seconds": score.ttft_p99_seconds,
        "itl_p99_seconds": score.itl_p99_seconds,
        "goodput_requests_per_second": score.goodput_requests_per_second,
        "unserved_requests": score.unserved_requests,
        "target": score.target,
        "gpu_hours": score.gpu_hours,
        "node_hours": score.node_hours,
        "cost_usd": score.cost_usd,
        "cost_over_oracle": score.cost_over_oracle,
        "energy_kwh": score.energy_kwh,
        "scale_actions_per_hour": score.scale_actions_per_hour,
        "orders": score.orders,
        "orders_cancelled_before_ready": score.cancelled_orders,
        "requests_cut_off": score.cut_off,
        "parked_replicas_taken_back": score.taken_back,
        "nodes_launched": score.nodes_launched,
        "nodes_given_back_unused": score.nodes_unused,
        "wall_seconds": score.wall_seconds,
        "attainment_by_pool": dict(score.attainment_by_pool),
        "note": outcome.note or None,
        "source": outcome.source or None,
    }


def _frontier(outcomes: Sequence[Outcome]) -> list[Json]:
    """Return every setting of every policy over all the traffic, by policy and cost."""
    made = [o for o in outcomes if o.kind in (RunKind.DEFAULT, RunKind.SWEPT)]
    default = {(o.score.name, o.score.knob): o for o in made}
    points: list[Json] = []
    for point in frontier([outcome.score for outcome in made]):
        knob = None if math.isnan(point.knob) else point.knob
        outcome = default[point.policy, knob]
        points.append(
            {
                "name": point.policy,
                "knob": knob,
                "default": outcome.default,
                "hindsight": outcome.hindsight,
                "slo_attainment": point.slo_attainment,
                "cost_usd": point.cost_usd,
                "meets_target": point.meets_target,
                "on_frontier": point.on_frontier,
            }
        )
    return points


def _transferred(outcomes: Sequence[Outcome]) -> list[Json]:
    """Return per policy the setting that was best on the first third, and what it came to over all."""
    whole = [o.score for o in outcomes if o.kind in (RunKind.DEFAULT, RunKind.SWEPT) and o.score.knob is not None]
    early = [o.score for o in outcomes if o.kind is RunKind.EARLY]
    if not early:
        return []
    names = {score.name for score in early}
    found = transferred([score for score in whole if score.name in names], early)
    points: list[Json] = [
        {
            "name": name,
            "knob": chosen.knob,
            "slo_attainment": None if chosen.score is None else chosen.score.slo_attainment,
            "cost_usd": None if chosen.score is None else chosen.score.cost_usd,
            "meets_target": None if chosen.score is None else chosen.score.meets_target,
        }
        for name, chosen in found.items()
    ]
    return points


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def to_json(replay: Replay) -> str:
    """Return the figures as JSON."""
    return json.dumps(as_json(replay), indent=2, allow_nan=False)


def to_yaml(replay: Replay) -> str:
    """Return the figures as YAML."""
    return str(yaml.safe_dump(as_json(replay), sort_keys=False, allow_unicode=True)).rstrip()
