"""`forebay replay`: the operator's decision code over recorded traffic, next to other autoscalers."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from forebay.flow.fleet import PoolKey
from forebay.offline.replay.inputs.build_error import BuildError
from forebay.offline.replay.inputs.nodes import NodeOptions
from forebay.offline.replay.inputs.prepare import Elsewhere, Prepared, ReplayRequest, prepare
from forebay.offline.replay.inputs.prometheus_past import binding_named, recorded_trace
from forebay.offline.replay.inputs.resource_files import load_fleet
from forebay.offline.replay.jobs.job import ALL, Job, UnknownPolicyError, jobs_for, policies_named
from forebay.offline.replay.jobs.outcome import Outcome
from forebay.offline.replay.jobs.progress import display
from forebay.offline.replay.jobs.workers import WorkerError, run_jobs, usable_cpus
from forebay.offline.replay.report import render
from forebay.offline.replay.results.output import Replay, against_oracle, to_json, to_yaml
from forebay.offline.replay.results.table import span, to_table
from forebay.offline.simulation import NodeScoring, QueueOrder
from forebay.offline.traces import PRESETS, TimeUnit, TraceError
from forebay.parameters import DURATION, LABEL, POOL_KEY
from forebay.telemetry.settings import PrometheusSettings

INTERRUPTED = 130
_READ_AHEAD_SECONDS = 60.0
_WRITERS = {"table": to_table, "json": to_json, "yaml": to_yaml}
_FILE = click.Path(path_type=Path)


class BadInputError(click.ClickException):
    """What was asked for cannot be replayed; the sentence says what to change."""

    exit_code = 2


EPILOG = """\b
Examples:
  a generated day on a documented pool
    forebay replay
  your traffic, your pool
    forebay replay --trace chat.csv --pool pool.yaml
  what a pool has served lately
    forebay replay --prometheus http://prometheus:9090 --pool-ref serving/chat --pool pool.yaml
  several models that share GPUs, with a page to pass on
    forebay replay --trace chat=a.csv --trace code=b.csv --fleet fleet.yaml --report out.html
    forebay replay --preset chat=chat@40 --preset code=code@20 --fleet fleet.yaml --until 12h
  three policies, each of the others at every setting of its knob
    forebay replay --policies forebay,hpa,keda --sweep -o json

\b
Exit codes:
  0    done
  1    failed while running
  2    an option, a trace or a file is wrong; one sentence says what to change
  130  interrupted; what was done by then is printed (and in the report)
"""


@click.command("replay", epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1)
@click.option(
    "--trace",
    "traces",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Recorded traffic of any known format, of the pool NAME where there are several. Repeatable.",
)
@click.option(
    "--trace-unit",
    type=click.Choice([unit.value for unit in TimeUnit]),
    help="Unit of a JSONL trace's time stamps; else as they show.",
)
@click.option(
    "--trace-block-tokens",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Prompt tokens per block of a JSONL trace; else as they show.",
)
@click.option(
    "--preset",
    "presets",
    multiple=True,
    metavar="[NAME=]PRESET[@RATE]",
    help=f"Generated traffic instead, at RATE requests/s: {', '.join(PRESETS)}. Repeatable.  [default: chat@40]",
)
@click.option("--prometheus", metavar="URL", help="Replay the past of --pool-ref from this server; needs --pool.")
@click.option(
    "--prometheus-match-label",
    "match_labels",
    multiple=True,
    type=LABEL,
    help="Label that the series of the pool's cluster have, such as cluster=eu-1. Repeatable.",
)
@click.option("--pool-ref", type=POOL_KEY, help="Which pool of the files the past is read of.")
@click.option("--since", type=DURATION, default="14d", show_default=True, help="How much of the past.")
@click.option(
    "--pool",
    "pools",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="YAML with an InferencePool and what it names.  [default: a documented 32B model on H100 and H200]",
)
@click.option("--fleet", "fleets", multiple=True, type=_FILE, metavar="FILE", help="The same with several pools.")
@click.option(
    "--policies",
    default=ALL,
    show_default=True,
    metavar="NAMES",
    help="Names separated by commas; hpa, keda, knative, aibrix and dynamo mean all of their kind.",
)
@click.option("--sweep", is_flag=True, help="Also run every other policy at each setting of its main knob.")
@click.option("--start-up", type=DURATION, help="From a pod on its node to ready; else what the pool says.")
@click.option(
    "--nodes/--no-nodes",
    default=True,
    show_default=True,
    help="Simulate and bill whole nodes, or let every replica find its GPUs and bill those.",
)
@click.option("--node-lead", type=DURATION, help="From the launch of a node to usable GPUs; else what it says.")
@click.option(
    "--scheduler",
    type=click.Choice([s.value for s in NodeScoring]),
    default=NodeScoring.LEAST_ALLOCATED.value,
    show_default=True,
    help="Which node with room gets the next pod.",
)
@click.option(
    "--consolidate-after",
    type=DURATION,
    default="10m",
    show_default=True,
    help="How long the node autoscaler keeps an empty node.",
)
@click.option("--spot-life", type=DURATION, help="Mean life of a node of a spot pool.  [default: no reclaims]")
@click.option(
    "--queue-order",
    type=click.Choice([o.value for o in QueueOrder]),
    default="fifo",
    show_default=True,
    help="late-last: a request that can no longer meet its TTFT steps aside.",
)
@click.option(
    "--grace",
    type=DURATION,
    help="What a removed replica still holds after this starts again.  [default: it ends all]",
)
@click.option(
    "--park", is_flag=True, help="Forebay parks replicas before they go, as docs/serving-stacks.md says."
)
@click.option("--from", "start", type=DURATION, default=0.0, help="Skip this much; it becomes history.")
@click.option("--until", "end", type=DURATION, help="Stop here, counted from the start of the trace.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="NUMBER",
    help="Scale to this many requests/s on average.",
)
@click.option("--seed", type=int, metavar="NUMBER", default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="NUMBER", help="Policies run at once.  [default: the CPUs]"
)
@click.option(
    "-o", "--output", type=click.Choice(list(_WRITERS)), default="table", show_default=True, help="What to print."
)
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML report here.")
def command(
    files: tuple[str, ...],
    traces: tuple[str, ...],
    trace_unit: str | None,
    trace_block_tokens: int | None,
    presets: tuple[str, ...],
    prometheus: str | None,
    match_labels: tuple[tuple[str, str], ...],
    pool_ref: PoolKey | None,
    since: float,
    pools: tuple[Path, ...],
    fleets: tuple[Path, ...],
    policies: str,
    sweep: bool,
    start_up: float | None,
    nodes: bool,
    node_lead: float | None,
    scheduler: str,
    consolidate_after: float,
    spot_life: float | None,
    queue_order: str,
    grace: float | None,
    park: bool,
    start: float,
    end: float | None,
    rate: float | None,
    seed: int,
    jobs: int | None,
    output: str,
    report: Path | None,
) -> None:
    """Replay traffic against a simulated fleet, under Forebay and under what people use today.

    All policies get the same traffic, the same initial fleet and the same start-up times; only the decisions
    differ. Forebay's are those of the operator, by the same code, at its defaults. It needs no cluster.
    """
    _check_writable(report)
    if files and not traces:
        raise click.UsageError(f"put --trace before {files[0]!r}")
    wanted = ReplayRequest(
        traces=(*traces, *files),
        time_unit=None if trace_unit is None else TimeUnit(trace_unit),
        block_tokens=trace_block_tokens,
        presets=presets,
        resources=(*pools, *fleets),
        start_up_seconds=start_up,
        nodes=NodeOptions(
            scoring=NodeScoring(scheduler),
            lead_seconds=node_lead,
            consolidate_after_seconds=consolidate_after,
            spot_life_seconds=spot_life,
        )
        if nodes
        else None,
        queue_order=QueueOrder(queue_order),
        grace_seconds=grace,
        parks=park,
        seed=seed,
        start_seconds=start,
        end_seconds=end,
        requests_per_second=rate,
    )
    try:
        chosen = policies_named([name.strip() for name in policies.split(",") if name.strip()])
        if prometheus:
            server = _server(prometheus, dict(match_labels), since)
            prepared = _from_prometheus(wanted, server, pool_ref, since)
        else:
            prepared = prepare(wanted)
    except (BuildError, TraceError, UnknownPolicyError, ValueError) as error:
        raise BadInputError(str(error)) from error
    todo = jobs_for(chosen, sweep=sweep, other_order=report is not None)
    replay = _run(prepared, todo, processes=jobs or usable_cpus(), seed=seed)
    if report is not None and replay.outcomes:
        _write(report, render(replay))
    if not replay.outcomes:
        click.echo("interrupted before any policy was done", err=True)
        sys.exit(INTERRUPTED)
    click.echo(_WRITERS[output](replay))
    if not replay.complete:
        sys.exit(INTERRUPTED)


def _server(url: str, match_labels: dict[str, str], since_seconds: float) -> PrometheusSettings:
    """Return how to read a long past."""
    return PrometheusSettings(
        url=url,
        query_timeout_seconds=60.0,
        read_timeout_seconds=60.0,
        history_limit_seconds=since_seconds + _READ_AHEAD_SECONDS,
        match_labels=match_labels,
    )


def _from_prometheus(
    wanted: ReplayRequest, server: PrometheusSettings, pool_ref: PoolKey | None, since_seconds: float
) -> Prepared:
    """Return the scenario of a pool's own past."""
    if pool_ref is None or not wanted.resources:
        raise BuildError(
            "--prometheus needs --pool-ref NAMESPACE/NAME and --pool with the pool and what it names, such as by "
            "kubectl get fpool,gpunodepools,servingprofiles,scalingpolicies -A -o yaml"
        )
    if wanted.traces or wanted.presets:
        raise BuildError("give one kind of traffic: --prometheus, --trace or --preset")
    loaded = load_fleet(wanted.resources, span_seconds=since_seconds)
    binding = binding_named(list(loaded.bindings.values()), pool_ref)
    now = time.time()
    found = recorded_trace(binding, server, since_seconds=since_seconds, now_seconds=now, seed=wanted.seed)
    source = f"{pool_ref} at {server.url}, the last {span(since_seconds)}"
    return prepare(wanted, Elsewhere(pool=pool_ref, trace=found.trace, source=source, note=found.note))


def _check_writable(report: Path | None) -> None:
    """Refuse a report that could not be written, before anything runs."""
    if report is not None and not report.parent.is_dir():
        raise BadInputError(f"there is no directory {report.parent} for the report; create it")


def _write(report: Path, text: str) -> None:
    try:
        report.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{report} cannot be written: {error.strerror}") from error


def _run(prepared: Prepared, jobs: Sequence[Job], *, processes: int, seed: int) -> Replay:
    """Run the jobs; an interrupt ends them and keeps what is done."""
    done: dict[int, Outcome] = {}
    complete = True
    with display(jobs) as shown:
        running = run_jobs(prepared.scenario, jobs, processes=processes, report=shown.share)
        try:
            for number, outcome in running:
                done[number] = outcome
                shown.done(number)
        except KeyboardInterrupt:
            complete = False
        except WorkerError as error:
            raise click.ClickException(str(error)) from error
        finally:
            running.close()
    return Replay(
        scenario=prepared.scenario,
        outcomes=against_oracle([done[number] for number in sorted(done)]),
        command=shlex.join(["forebay", *sys.argv[1:]]),
        seed=seed,
        traffic=prepared.traffic,
        notes=prepared.notes,
        complete=complete,
    )
