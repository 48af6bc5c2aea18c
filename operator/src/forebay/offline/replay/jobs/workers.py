"""Run jobs in processes of their own, a few at a time; what is done is handed out as it comes.

Processes are spawned, not forked: the same on every platform, and no thread or lock of the parent is copied. The
scenario is sent to each process once. With one process, or one job, everything runs where it was called.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from forebay.offline.replay.jobs.job import Job, run_job
from forebay.offline.replay.jobs.outcome import Outcome
from forebay.offline.replay.loop.scenario import Scenario

Report = Callable[[int, float], None]
"""Told the number of a job and the share of it that is done."""
_STEP = 0.01


class WorkerError(RuntimeError):
    """A job failed, or its process died."""


@dataclass(frozen=True, slots=True)
class _Done:
    number: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Share:
    number: int
    share: float


@dataclass(frozen=True, slots=True)
class _Failed:
    number: int
    message: str


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # not on macOS
    return (os.cpu_count() or 1) if affinity is None else len(affinity(0))


def run_jobs(
    scenario: Scenario, jobs: Sequence[Job], *, processes: int = 1, report: Report | None = None
) -> Generator[tuple[int, Outcome]]:
    """Yield each job's number and outcome as it ends; closing the iterator ends what still runs.

    Raises:
        WorkerError: a job failed, or its process died.
    """
    if min(processes, len(jobs)) <= 1:
        yield from _run_here(scenario, jobs, report)
        return
    crew = _Crew(scenario, jobs, min(processes, len(jobs)), report or _unheard)
    try:
        yield from crew.outcomes()
    finally:
        crew.end()


def _run_here(scenario: Scenario, jobs: Sequence[Job], report: Report | None) -> Generator[tuple[int, Outcome]]:
    for number, job in enumerate(jobs):

        def told(share: float, number: int = number) -> None:
            if report is not None:
                report(number, share)

        told(0.0)
        yield number, run_job(scenario, job, told)


def _unheard(number: int, share: float) -> None:
    """Tell nobody."""


class _Crew:
    """Processes, each with a pipe: a job's number goes in, shares and the outcome come out."""

    def __init__(self, scenario: Scenario, jobs: Sequence[Job], size: int, report: Report) -> None:
        context = multiprocessing.get_context("spawn")
        self._jobs = jobs
        self._report = report
        self._next = 0
        self._workers: dict[Connection, BaseProcess] = {}
        self._busy: dict[Connection, int] = {}
        for _ in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, scenario, tuple(jobs)), daemon=True)
            process.start()
            theirs.close()
            self._workers[ours] = process
            self._hand_out(ours)

    def outcomes(self) -> Generator[tuple[int, Outcome]]:
        """Yield outcomes until all jobs are done."""
        while self._busy:
            for ready in wait(list(self._busy)):
                pipe = next(pipe for pipe in self._busy if pipe is ready)
                said = self._hear(pipe)
                if isinstance(said, _Done):
                    self._hand_out(pipe)
                    yield said.number, said.outcome
                elif isinstance(said, _Share):
                    self._report(said.number, said.share)

    def _hear(self, pipe: Connection) -> object:
        label = self._jobs[self._busy[pipe]].label
        try:
            said: object = pipe.recv()
        except EOFError:
            raise WorkerError(
                f"the process of {label} died (was it out of memory? fewer --jobs need less)"
            ) from None
        if isinstance(said, _Failed):
            raise WorkerError(f"{label} failed: {said.message}")
        return said

    def _hand_out(self, pipe: Connection) -> None:
        if self._next == len(self._jobs):
            self._busy.pop(pipe, None)
            return
        self._busy[pipe] = self._next
        pipe.send(self._next)
        self._report(self._next, 0.0)
        self._next += 1

    def end(self) -> None:
        """End all processes, busy or not."""
        for pipe, process in self._workers.items():
            process.terminate()
            process.join()
            pipe.close()


def _work(pipe: Connection, scenario: Scenario, jobs: Sequence[Job]) -> None:
    """Run jobs as they are asked for; an interrupt is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        last = 0.0

        def told(share: float, number: int = number) -> None:
            nonlocal last
            if share - last >= _STEP:
                last = share
                pipe.send(_Share(number, share))

        try:
            pipe.send(_Done(number, run_job(scenario, jobs[number], told)))
        except Exception as error:  # noqa: BLE001  the parent says it
            pipe.send(_Failed(number, f"{type(error).__name__}: {error}"))
