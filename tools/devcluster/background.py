"""A cluster that outlives the command that started it: `up`, `down`, and what lies between.

A process of its own opens the cluster and waits for SIGTERM; when it goes, however it goes, the cluster goes with
it. A state file in the cache says which process that is.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import devcluster
from devcluster.binaries import Binaries, cache_directory
from devcluster.cluster import Cluster
from devcluster.errors import DevClusterError
from devcluster.rest import Rest, api_client
from devcluster.selection import select

_START_TIMEOUT_SECONDS = 120.0
_STOP_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """The cluster that runs in the background.

    Attributes:
        pid: the process that holds it.
        kubeconfig: the administrator's kubeconfig.
        description: what it is, for a user.
    """

    pid: int
    kubeconfig: str
    description: str


def state_file() -> Path:
    """Return the path of the state file."""
    return cache_directory() / "running.json"


def running() -> Running | None:
    """Return the cluster that runs in the background, None if there is none (any more)."""
    try:
        found = Running(**json.loads(state_file().read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if _is_holder(found.pid) else None


def start() -> Running:
    """Start a cluster in the background, after building what it needs.

    Raises:
        DevClusterError: one runs already, or it did not start.
    """
    if (already := running()) is not None:
        raise DevClusterError(f"a cluster runs already, held by process {already.pid}: {already.description}")
    choice = select()
    if choice.kind != "kind":
        Binaries.from_environment().build_missing()
    cache_directory().mkdir(parents=True, exist_ok=True)
    state_file().unlink(missing_ok=True)
    log = cache_directory() / "up.log"
    with log.open("w") as output:
        holder = subprocess.Popen(
            [sys.executable, "-m", "devcluster.background", choice.kind, choice.reason],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while (started := running()) is None:
        if holder.poll() is not None or time.monotonic() > deadline:
            holder.kill()
            holder.wait()
            raise DevClusterError(f"the cluster did not start:\n{log.read_text().strip()}")
        time.sleep(0.1)
    print(log.read_text(), end="")
    return started


def stop(found: Running) -> None:
    """End a cluster that runs in the background, and wait until its holder is gone.

    Raises:
        DevClusterError: its holder does not end.
    """
    os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while _is_holder(found.pid):
        if time.monotonic() > deadline:
            raise DevClusterError(f"process {found.pid} did not end: end it with 'kill -9 {found.pid}'")
        time.sleep(0.05)
    state_file().unlink(missing_ok=True)


def rest(found: Running) -> Rest:
    """Return a client of a cluster that runs in the background."""
    return Rest(api_client(Path(found.kubeconfig)))


def hold(cluster: Cluster) -> None:
    """Write the state file, and wait for the signal that ends this process."""
    state = Running(pid=os.getpid(), kubeconfig=str(cluster.kubeconfig), description=cluster.describe())
    temporary = state_file().with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(state)))
    temporary.replace(state_file())
    while True:
        signal.pause()


def _is_holder(pid: int) -> bool:
    """Whether this process holds a cluster; a pid alone may long belong to somebody else."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"devcluster.background" in command


def main() -> None:
    """Hold the cluster of the kind named by the first argument, chosen for the reason in the second."""
    # Not by blocking the signal: the programs of the cluster would inherit that.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        cluster = devcluster.open(devcluster.Choice(*sys.argv[1:3]))
    except DevClusterError as error:
        sys.exit(str(error))
    with cluster:
        sys.stdout.flush()
        hold(cluster)


if __name__ == "__main__":
    main()
