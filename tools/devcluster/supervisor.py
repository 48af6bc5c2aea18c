"""The process that owns a cluster's processes and ends them when the one that asked for them is gone.

Run as a script by `devcluster.processes`, with nothing but the standard library. Orders come as JSON lines on
standard input, answers go as JSON lines to standard output:

    {"op": "start", "name": N, "argv": [...], "log": PATH}  -> {"pid": P}
    {"op": "signal", "name": N, "signal": S}                -> {"delivered": true | false}
    {"op": "exits"}                                         -> {N: exit status, or null while it runs, ...}
    {"op": "keep"}                                          -> {} (the run directory will not be removed)

The end of standard input, which also comes when the driver is killed by SIGKILL, ends all processes by their
pid and removes the run directory. Two more nets: a changed parent pid means the same, and on Linux each process
asks the kernel to be killed if this one goes first (PR_SET_PDEATHSIG). The latter belongs here and not in the
driver, because it follows the *thread* that started the process; this program has only one.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

GRACE_SECONDS = 0.7
_PARENT_CHECK_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


class Supervisor:
    """The processes of one run, by name."""

    def __init__(self, run_directory: Path) -> None:
        self._run_directory = run_directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._keep = False
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def obey(self, order: dict[str, object]) -> dict[str, object]:
        """Carry out one order and return the answer."""
        match order["op"]:
            case "start":
                return self._start(str(order["name"]), order["argv"], Path(str(order["log"])))
            case "signal":
                return self._signal(str(order["name"]), order["signal"])
            case "exits":
                return {name: process.poll() for name, process in self._processes.items()}
            case "keep":
                self._keep = True
                return {}
            case unknown:
                return {"error": f"unknown operation {unknown!r}"}

    def end(self) -> None:
        """End every process, last started first, and remove the run directory."""
        running = [process for process in reversed(self._processes.values()) if process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                # kube-apiserver drains for a minute after SIGTERM; nothing here outlives the run anyway.
                process.kill()
                process.wait()
        if not self._keep:
            shutil.rmtree(self._run_directory, ignore_errors=True)

    def _start(self, name: str, argv: object, log: Path) -> dict[str, object]:
        if not isinstance(argv, list):
            return {"error": "argv must be a list"}
        current = self._processes.get(name)
        if current is not None and current.poll() is None:
            return {"error": f"{name} runs already, as {current.pid}"}
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._run_directory,
                    start_new_session=True,  # Ctrl-C in the terminal is for the driver to handle
                    preexec_fn=self._die_with_me,  # noqa: PLW1509  (this program has one thread)
                )
        except OSError as error:
            return {"error": f"{argv[0]}: {error.strerror}"}
        self._processes[name] = process
        return {"pid": process.pid}

    def _signal(self, name: str, number: object) -> dict[str, object]:
        process = self._processes.get(name)
        if process is None or process.poll() is not None or not isinstance(number, int):
            return {"delivered": False}
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()
        return {"delivered": True}

    def _die_with_me(self) -> None:
        if self._libc is not None:
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(orders: IO[bytes], answers: IO[bytes], supervisor: Supervisor) -> None:
    """Obey orders until their source ends or the parent process changes."""
    parent = os.getppid()
    descriptor = orders.fileno()
    pending = b""
    while os.getppid() == parent:
        readable, _, _ = select.select([descriptor], [], [], _PARENT_CHECK_SECONDS)
        if not readable:
            continue
        received = os.read(descriptor, 65_536)
        if not received:
            return
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            answers.write(json.dumps(supervisor.obey(json.loads(line))).encode() + b"\n")
            answers.flush()


def main() -> None:
    """Run the supervisor for the run directory named by the first argument."""
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    supervisor = Supervisor(Path(sys.argv[1]))
    try:
        with contextlib.suppress(BrokenPipeError):
            serve(sys.stdin.buffer, sys.stdout.buffer, supervisor)
    finally:
        supervisor.end()


if __name__ == "__main__":
    main()
