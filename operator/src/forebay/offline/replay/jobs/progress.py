"""Progress on a terminal: bars where rich is installed, a line per policy where it is not, nothing elsewhere."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from forebay.offline.replay.jobs.job import Job

if TYPE_CHECKING:
    from rich.progress import TaskID


class Display(Protocol):
    """Shows how far jobs are; used as a context."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def share(self, number: int, share: float) -> None:
        """Show that job ``number`` is done to ``share``."""
        ...

    def done(self, number: int) -> None:
        """Show that job ``number`` is done."""
        ...


def display(jobs: Sequence[Job]) -> Display:
    """Return what fits standard error."""
    if not sys.stderr.isatty():
        return Quiet()
    return Bars(jobs) if find_spec("rich") is not None else Lines(jobs)


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def share(self, number: int, share: float) -> None:
        """Show nothing."""

    def done(self, number: int) -> None:
        """Show nothing."""


class Lines(Quiet):
    """Writes a line when a job is done."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._done = 0

    def done(self, number: int) -> None:
        """Write the line."""
        self._done += 1
        sys.stderr.write(f"{self._done} of {len(self._jobs)}: {self._jobs[number].label} is done\n")


class Bars(Quiet):
    """A bar per running job and one for all, by rich."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._jobs = jobs
        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._all = self._progress.add_task("all policies", total=len(jobs))
        self._bars: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def share(self, number: int, share: float) -> None:
        """Move the job's bar."""
        if number not in self._bars:
            self._bars[number] = self._progress.add_task(self._jobs[number].label, total=1.0)
        self._progress.update(self._bars[number], completed=share)

    def done(self, number: int) -> None:
        """Take the job's bar away and move that of all."""
        if number in self._bars:
            self._progress.remove_task(self._bars.pop(number))
        self._progress.advance(self._all)
