"""kind is called for one cluster of its own, with a kubeconfig of its own; its troubles come as sentences."""

import json
import os
from pathlib import Path

import pytest

from devcluster import kind
from devcluster.errors import DevClusterError
from devcluster.kind import Kind

_FAKE = """#!/bin/sh
python3 - "$0" "$@" <<'PYTHON'
import json, sys
with open(sys.argv[1] + ".calls", "a") as calls:
    calls.write(json.dumps(sys.argv[2:]) + "\\n")
PYTHON
case "$*" in
  "get nodes"*) echo ours-worker2; echo ours-control-plane; echo ours-worker ;;
  "get clusters") echo ours-too; echo other ;;
  *create*slow*) exec sleep 60 ;;
  *broken*) echo "no such image" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs called kind and docker that write down how they are called."""
    for name in ("kind", "docker"):
        (tmp_path / name).write_text(_FAKE)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def ours(programs: Path) -> Kind:
    return Kind(programs / "kind", "ours", programs / "state" / "kubeconfig")


def _calls(programs: Path, name: str) -> list[list[str]]:
    return [json.loads(line) for line in (programs / f"{name}.calls").read_text().splitlines()]


def test_whatever_changes_a_cluster_names_it_and_its_kubeconfig(programs: Path, ours: Kind) -> None:
    ours.create("kind: Cluster", image="node:1")
    ours.delete()
    own = ["--name", "ours", "--kubeconfig", str(ours.kubeconfig)]
    assert _calls(programs, "kind") == [
        ["create", "cluster", *own, "--config", "-", "--wait", "120s", "--image", "node:1"],
        ["delete", "cluster", *own],
    ]


def test_what_a_creation_that_takes_too_long_began_is_removed(
    programs: Path, ours: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "_CREATE_SECONDS", 3.0)
    with pytest.raises(DevClusterError, match="create cluster did not end within 3 s"):
        ours.create("kind: Cluster", image="slow")
    assert [call[:2] for call in _calls(programs, "kind")] == [["create", "cluster"], ["delete", "cluster"]]


def test_a_cluster_with_a_longer_name_is_another(ours: Kind) -> None:
    assert not ours.exists()


def test_workers_are_in_order_and_without_the_control_plane(ours: Kind) -> None:
    assert ours.workers() == ["ours-worker", "ours-worker2"]


def test_nodes_of_others_are_never_touched(programs: Path, ours: Kind) -> None:
    with pytest.raises(DevClusterError, match="no node of the kind cluster ours"):
        ours.stop_node("other-worker")
    assert not (programs / "docker.calls").exists()
    ours.stop_node("ours-worker")
    ours.start_node("ours-worker")
    assert _calls(programs, "docker") == [["kill", "ours-worker"], ["start", "ours-worker"]]


def test_what_kind_says_comes_through(ours: Kind) -> None:
    with pytest.raises(DevClusterError, match="no such image"):
        ours.load("broken")


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(DevClusterError, match="kind is not there: install it"):
        Kind(tmp_path / "kind", "ours", tmp_path / "kubeconfig").exists()


@pytest.mark.parametrize(("environment", "asked"), [({}, "kindest/node"), ({"KIND_NODE_IMAGE": "own:1"}, "own:1")])
def test_the_node_image_is_looked_for(programs: Path, environment: dict[str, str], asked: str) -> None:
    assert not kind.image_at_hand(environment)
    assert _calls(programs, "docker") == [["image", "ls", "--quiet", asked]]
