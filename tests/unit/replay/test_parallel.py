"""Jobs in spawned processes give what they give in one."""

from forebay.offline.replay.inputs.resource_files import LoadedFleet
from forebay.offline.replay.jobs.job import Job, run_job
from forebay.offline.replay.jobs.workers import run_jobs
from forebay.offline.replay.quick import quick_table
from tests.unit.replay.outcomes import ten_minutes

JOBS = (Job(policy="forebay"), Job(policy="hpa"), Job(policy="hpa", knob=0.5))


def test_processes_give_what_one_process_gives() -> None:
    scenario = ten_minutes().scenario
    shares: list[tuple[int, float]] = []
    spread = dict(
        run_jobs(scenario, JOBS, processes=2, report=lambda number, share: shares.append((number, share)))
    )
    alone = dict(run_jobs(scenario, JOBS, processes=1))
    assert spread.keys() == alone.keys() == {0, 1, 2}
    for number, outcome in alone.items():
        other = spread[number].score
        assert (other.cost_usd, other.slo_attainment, other.ttft_p99_seconds) == (
            outcome.score.cost_usd,
            outcome.score.slo_attainment,
            outcome.score.ttft_p99_seconds,
        )
    assert shares
    assert all(0.0 <= share <= 1.0 for _, share in shares)


def test_closing_the_iterator_ends_the_processes() -> None:
    import multiprocessing

    before = set(multiprocessing.active_children())
    running = run_jobs(ten_minutes().scenario, JOBS, processes=2)
    next(running)
    running.close()
    assert set(multiprocessing.active_children()) <= before


def test_a_run_keeps_its_course() -> None:
    scenario = ten_minutes().scenario
    made = run_job(scenario, JOBS[0])
    assert made.course is not None
    bins = next(iter(made.course.bins.values()))
    total = float(bins.requests_per_second.sum() * bins.seconds)
    assert round(total) == scenario.requests


def test_a_quick_table_for_a_demo() -> None:
    scenario = ten_minutes().scenario
    (trace,) = scenario.traces.values()
    loaded = LoadedFleet(fleet=scenario.fleet, bindings={}, lead_times={})
    table = quick_table(loaded, trace, policies=("forebay", "hpa"))
    rows = {line.split()[0] for line in table.splitlines() if line.startswith(("forebay ", "hpa "))}
    assert rows == {"forebay", "hpa"}
    assert "the 99 % target" in table
