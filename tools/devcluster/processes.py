"""The driver's side of the processes of a run: start, kill, restart, and read their logs."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevClusterError

_STOP_TIMEOUT_SECONDS = 20.0
_TAIL_LINES = 25
_POLL_SECONDS = 0.05
_SUPERVISOR = Path(__file__).with_name("supervisor.py")


class ProcessHost:
    """Runs programs that end with this process, however it ends (see `devcluster.supervisor`).

    Safe to use from several threads.

    Args:
        run_directory: where the programs run and write their logs; removed at the end unless `keep` was called.
    """

    def __init__(self, run_directory: Path) -> None:
        self.run_directory = run_directory
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_SUPERVISOR), str(run_directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def log_path(self, name: str) -> Path:
        """Return where a program's output goes."""
        return self.run_directory / f"{name}.log"

    def log_tail(self, name: str, lines: int = _TAIL_LINES) -> str:
        """Return the last lines that a program wrote."""
        try:
            with self.log_path(name).open(errors="replace") as log:
                return "".join(deque(log, lines)).rstrip()
        except FileNotFoundError:
            return "(it wrote nothing)"

    def start(self, name: str, argv: Sequence[str]) -> int:
        """Start a program under a name that no running one has, and return its pid.

        Raises:
            DevClusterError: it could not be started.
        """
        answer = self._ask(op="start", name=name, argv=list(argv), log=str(self.log_path(name)))
        if "error" in answer:
            raise DevClusterError(f"{name} could not be started: {answer['error']}")
        pid = answer["pid"]
        if not isinstance(pid, int):
            raise TypeError(f"the supervisor answered {answer!r}")
        return pid

    def signal(self, name: str, number: int) -> bool:
        """Send a signal to a program by its pid; false if it does not run. After SIGKILL it is gone."""
        return self._ask(op="signal", name=name, signal=number).get("delivered") is True

    def exit_status(self, name: str) -> int | None:
        """Return a program's exit status (minus the signal that ended it), None while it runs.

        Raises:
            KeyError: no such program was started.
        """
        status = self._ask(op="exits")[name]
        return status if isinstance(status, int) else None

    def keep(self) -> None:
        """Leave the run directory where it is when all has ended."""
        self._ask(op="keep")

    def close(self) -> None:
        """End every program and wait until they are gone."""
        with self._lock:
            if self._process.stdin is None or self._process.stdin.closed:
                return
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, **order: object) -> dict[str, object]:
        with self._lock:
            stdin, stdout = self._process.stdin, self._process.stdout
            if stdin is None or stdout is None or stdin.closed:
                raise DevClusterError("this cluster was stopped")
            try:
                stdin.write(json.dumps(order).encode() + b"\n")
                stdin.flush()
                line = stdout.readline()
            except BrokenPipeError:
                line = b""
        if not line:
            raise DevClusterError(f"the supervisor of {self.run_directory} is gone, and the cluster with it")
        answer: dict[str, object] = json.loads(line)
        return answer


@dataclass(frozen=True, slots=True)
class Component:
    """One program of a cluster, which can be killed and started again as it was.

    Attributes:
        host: what runs it.
        name: its name there.
        argv: how it is started, each time; ports and directories are in it, so it comes back as it was.
        is_ready: whether it answers; asked again and again after a start.
        start_timeout_seconds: how long a start may take.
    """

    host: ProcessHost
    name: str
    argv: tuple[str, ...]
    is_ready: Callable[[], bool]
    start_timeout_seconds: float = 60.0

    def start(self) -> int:
        """Start it without waiting, and return its pid."""
        return self.host.start(self.name, self.argv)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would, and return when it is gone."""
        self.host.signal(self.name, signal.SIGKILL)

    def signal(self, number: int) -> bool:
        """Send it a signal; false if it does not run."""
        return self.host.signal(self.name, number)

    def restart(self) -> None:
        """Start it again with the same port and the same data, killing it first if it runs, until it is ready.

        Raises:
            DevClusterError: it did not become ready; the message has the end of its log.
        """
        self.kill()
        self.start()
        self.wait_ready()

    def is_running(self) -> bool:
        """Whether its process exists."""
        return self.host.exit_status(self.name) is None

    def wait_ready(self) -> None:
        """Wait until it answers.

        Raises:
            DevClusterError: it ended, or did not answer in time; the message has the end of its log.
        """
        wait_all_ready([self])

    def trouble(self, what: str) -> DevClusterError:
        """Return an error about this component, with the end of its log."""
        return DevClusterError(
            f"{self.name} {what}; the end of {self.host.log_path(self.name)}:\n{self.host.log_tail(self.name)}"
        )


def wait_all_ready(components: Sequence[Component]) -> None:
    """Wait until all of these answer; one that ends while another is waited for is noticed at once.

    Raises:
        DevClusterError: one ended, or did not answer in time; the message has the end of its log.
    """
    started = time.monotonic()
    waiting = list(components)
    while waiting:
        for component in components:
            status = component.host.exit_status(component.name)
            if status is not None:
                raise component.trouble(f"ended with status {status} instead of becoming ready")
        waiting = [component for component in waiting if not component.is_ready()]
        for component in waiting:
            if time.monotonic() - started > component.start_timeout_seconds:
                raise component.trouble(f"was not ready after {component.start_timeout_seconds:.0f} s")
        if waiting:
            time.sleep(_POLL_SECONDS)
