"""Processes of a run end with the process that asked for them, however it ends, and come back as they were."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.errors import DevClusterError
from devcluster.processes import Component, ProcessHost
from devcluster.waiting import eventually

HOLDER = """
import sys, time
from pathlib import Path
from devcluster.processes import ProcessHost
host = ProcessHost(Path(sys.argv[1]))
tame = host.start("a", ["sleep", "600"])
deaf = host.start("b", ["sh", "-c", "trap '' TERM; sleep 600"])
print(host.pid, tame, deaf, flush=True)
time.sleep(600)
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProcessHost]:
    directory = tmp_path / "run"
    directory.mkdir()
    host = ProcessHost(directory)
    yield host
    host.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet collected by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_closing_ends_all_and_removes_the_directory(host: ProcessHost) -> None:
    pids = [host.start("a", ["sleep", "600"]), host.start("b", ["sh", "-c", "trap '' TERM; sleep 600"])]
    assert all(map(is_alive, pids))
    host.close()
    assert not any(map(is_alive, pids))
    assert not host.run_directory.exists()
    with pytest.raises(DevClusterError, match="was stopped"):
        host.start("c", ["sleep", "600"])


def test_a_directory_that_is_kept_stays(host: ProcessHost) -> None:
    host.start("a", ["echo", "something to read later"])
    eventually(lambda: host.exit_status("a") == 0)
    host.keep()
    host.close()
    assert host.log_path("a").read_text() == "something to read later\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "run").mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder:
        pids = [int(pid) for pid in holder.stdout.readline().split()]
        assert len(pids) == 3
        holder.send_signal(number)
    eventually(lambda: not any(map(is_alive, pids)), timeout_seconds=10, describe="all processes gone")
    eventually(lambda: not (tmp_path / "run").exists(), timeout_seconds=5)


def test_processes_end_when_the_supervisor_itself_is_killed(host: ProcessHost) -> None:
    pid = host.start("a", ["sleep", "600"])
    os.kill(host.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid), timeout_seconds=5)
    with pytest.raises(DevClusterError, match=r"the supervisor of .* is gone"):
        host.exit_status("a")


def test_a_kill_is_over_when_it_returns_and_a_restart_gives_a_new_process(host: ProcessHost) -> None:
    component = Component(host, "a", ("sleep", "600"), is_ready=lambda: True)
    first = component.start()
    component.kill()
    assert not is_alive(first)
    assert not component.is_running()
    component.restart()
    assert component.is_running()


def test_two_processes_cannot_have_one_name(host: ProcessHost) -> None:
    host.start("a", ["sleep", "600"])
    with pytest.raises(DevClusterError, match="a runs already"):
        host.start("a", ["sleep", "600"])


def test_a_program_that_is_not_there_is_named(host: ProcessHost) -> None:
    with pytest.raises(DevClusterError, match="/nowhere/etcd: No such file"):
        host.start("etcd", ["/nowhere/etcd"])


def test_the_end_of_the_log_is_in_the_error_when_a_component_does_not_come_up(host: ProcessHost) -> None:
    component = Component(host, "a", ("sh", "-c", "echo flag --x is unknown; exit 3"), is_ready=lambda: False)
    component.start()
    with pytest.raises(DevClusterError, match=r"(?s)ended with status 3.*flag --x is unknown"):
        component.wait_ready()


def test_a_component_that_never_answers_is_given_up(host: ProcessHost) -> None:
    component = Component(host, "a", ("sleep", "600"), is_ready=lambda: False, start_timeout_seconds=0.2)
    component.start()
    with pytest.raises(DevClusterError, match="was not ready after 0 s"):
        component.wait_ready()
