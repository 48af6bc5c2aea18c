"""Binaries of a local cluster are built once, completely or not at all."""

import fcntl
import threading
from pathlib import Path

import pytest

from devcluster.binaries import Binaries, Progress, cache_directory
from devcluster.errors import DevClusterError
from devcluster.targets import ALL, CONTROL_PLANE, KWOK
from devcluster.waiting import eventually

GO = """#!/bin/sh
case "$1" in
version) echo go version go1.99.0 linux/amd64;;
list) printf 'a\\nb\\nc\\n';;
build)
  echo example.org/a >&2
  {failure}
  while [ "$1" != -o ]; do shift; done
  echo binary > "$2"; chmod +x "$2";;
esac
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `go` that builds at once; rewrite it to make it fail."""
    path = tmp_path / "bin" / "go"
    path.parent.mkdir()
    path.write_text(GO.format(failure=":"))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    return path


def _assets(directory: Path, *names: str) -> Path:
    directory.mkdir()
    for name in names:
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    return directory


def test_the_cache_follows_the_xdg_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "forebay"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "forebay"


def test_all_is_built_once_and_found_by_every_name(tmp_path: Path, go: Path) -> None:
    binaries = Binaries(tmp_path / "cache")
    assert set(binaries.build_missing(log=lambda _: None)) == {target.name for target in ALL}
    assert binaries.missing() == []
    for program in (*CONTROL_PLANE.commands, "kwok", "prometheus"):
        assert binaries.path(program).read_text() == "binary\n"
    go.write_text("#!/bin/sh\nexit 1\n")
    assert binaries.build_missing() == {}


def test_a_failed_build_says_its_last_words_and_leaves_nothing(tmp_path: Path, go: Path) -> None:
    go.write_text(GO.format(failure="echo 'x.go:1:2: undefined: y' >&2; exit 1"))
    binaries = Binaries(tmp_path / "cache")
    with pytest.raises(DevClusterError, match="undefined: y"):
        binaries.build_missing(log=lambda _: None)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
    with pytest.raises(DevClusterError, match="etcd is not built yet: run 'python -m devcluster build'"):
        binaries.path("etcd")


def test_a_second_builder_waits_for_the_first_and_builds_nothing(tmp_path: Path, go: Path) -> None:
    binaries = Binaries(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    said: list[str] = []
    with (tmp_path / "cache" / f"{CONTROL_PLANE.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=binaries.build_missing, kwargs={"log": said.append})
        second.start()
        eventually(lambda: any("another process is building controlplane" in line for line in said))
        entry = binaries.entry(CONTROL_PLANE)
        entry.mkdir()
        (entry / CONTROL_PLANE.name).write_text("by the first\n")
    second.join()
    assert (entry / CONTROL_PLANE.name).read_text() == "by the first\n"
    assert not any("built controlplane" in line for line in said)


def test_complete_assets_are_used_instead_of_a_build(tmp_path: Path) -> None:
    binaries = Binaries(tmp_path / "cache", _assets(tmp_path / "assets", *CONTROL_PLANE.commands))
    assert CONTROL_PLANE not in binaries.missing()
    assert binaries.path("etcd") == tmp_path / "assets" / "etcd"


def test_assets_without_scheduler_and_controller_manager_do_not_do(tmp_path: Path) -> None:
    binaries = Binaries(tmp_path / "cache", _assets(tmp_path / "assets", "etcd", "kube-apiserver", "kubectl"))
    assert binaries.missing_assets() == ("kube-controller-manager", "kube-scheduler")
    assert CONTROL_PLANE in binaries.missing()


def test_progress_says_how_far_and_how_long_and_only_now_and_then() -> None:
    now, said = [0.0], list[str]()
    progress = Progress("kwok", said.append, clock=lambda: now[0])
    for second in range(41):
        now[0] = float(second)
        progress.show(f"{10 * second} of at most 1200 packages compiled")
    progress.end()
    assert said == [
        "devcluster: kwok: 150 of at most 1200 packages compiled, 15 s",
        "devcluster: kwok: 300 of at most 1200 packages compiled, 30 s",
    ]


def test_modules_that_cannot_be_had_are_named_with_what_go_said(tmp_path: Path, go: Path) -> None:
    go.write_text(
        GO.format(failure=":").replace("printf 'a\\nb\\nc\\n'", "echo 'x@v1: 404 Not Found' >&2; exit 1")
    )
    with pytest.raises(DevClusterError, match=r"(?s)controlplane could not be had.*x@v1: 404 Not Found"):
        Binaries(tmp_path / "cache").build_missing(log=lambda _: None)


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path: Path, go: Path) -> None:
    left = tmp_path / "cache" / ".build-kwok-abandoned"
    left.mkdir(parents=True)
    Binaries(tmp_path / "cache").build_missing(log=lambda _: None)
    assert not left.exists()


def test_an_interrupted_build_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    binaries = Binaries(tmp_path / "cache")
    binaries.entry(KWOK).mkdir(parents=True)
    assert not binaries.is_built(KWOK)
