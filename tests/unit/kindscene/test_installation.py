"""A cluster is made once, taken up again, and never somebody else's."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.errors import DevClusterError
from kindscene import cli
from kindscene.images import own_images, project_version
from kindscene.installation import Installation, cluster_name

_KIND = """#!/bin/sh
echo "$@" >> "$0.calls"
case "$*" in
  "get clusters") echo $CLUSTERS ;;
  "get nodes"*) echo ours-worker2 ours-control-plane ours-worker ours-worker3 ;;
esac
"""
_DOCKER = """#!/bin/sh
echo "$@" >> "$0.calls"
[ "$1" != info ] || [ -z "$SILENT" ]
"""
_KUBECTL = """#!/bin/sh
python3 - "$0" "$@" <<'PYTHON'
import json, sys
with open(sys.argv[1] + ".calls", "a") as calls:
    calls.write(json.dumps(sys.argv[4:]) + "\\n")
PYTHON
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that write down how they are called, and a cache of our own."""
    for name, text in (("kind", _KIND), ("docker", _DOCKER), ("kubectl", _KUBECTL), ("helm", _KUBECTL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("KIND_NODE_IMAGE", raising=False)
    return tmp_path


@pytest.fixture
def ours(programs: Path) -> Iterator[Installation]:
    made = Installation("ours", log=lambda _: None)
    yield made
    made.close()


def _calls(programs: Path, name: str) -> list[str]:
    path = programs / f"{name}.calls"
    return path.read_text().splitlines() if path.exists() else []


def test_the_name_may_be_chosen() -> None:
    assert cluster_name({}) == "forebay"
    assert cluster_name({"FOREBAY_KIND_NAME": "mine"}) == "mine"


def test_images_have_the_version_as_their_tag() -> None:
    version = project_version()
    assert own_images({}) == (f"forebay:{version}", f"forebay-engine-simulator:{version}")
    assert own_images({"IMAGE_TAG": "t"})[0] == "forebay:t"


def test_a_cluster_that_is_not_there_is_made(
    programs: Path, ours: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIND_NODE_IMAGE", "node:1")
    ours.create()
    made = next(call for call in _calls(programs, "kind") if call.startswith("create"))
    assert "--name ours" in made
    assert made.endswith("--image node:1")


def test_somebody_elses_cluster_is_left_alone(
    programs: Path, ours: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTERS", "ours")
    with pytest.raises(DevClusterError, match="was not made here"):
        ours.create()
    assert not [call for call in _calls(programs, "docker") if call != "info"]


def test_a_cluster_that_is_there_is_mended(
    programs: Path, ours: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTERS", "ours")
    ours.kind.kubeconfig.parent.mkdir(parents=True)
    ours.kind.kubeconfig.touch()
    ours.create()
    workers = ("ours-worker", "ours-worker2", "ours-worker3")
    assert [call for call in _calls(programs, "docker") if call != "info"] == [
        *(f"start {node}" for node in workers),
        *(f"exec {node} systemctl start kubelet" for node in workers),
    ]
    assert not [call for call in _calls(programs, "kind") if call.startswith("create")]


def test_without_docker_the_other_way_is_named(ours: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SILENT", "1")
    with pytest.raises(DevClusterError, match="make demo"):
        ours.create()


def test_gpus_of_each_type_are_patched_onto_their_nodes(programs: Path, ours: Installation) -> None:
    ours.advertise_gpus()
    calls = [json.loads(line) for line in _calls(programs, "kubectl")]
    labelled = {
        call[3]: [pair for pair in call if pair.startswith("gpu-pool=")] for call in calls if call[0] == "label"
    }
    assert labelled == {
        "ours-worker": ["gpu-pool=h100"],
        "ours-worker2": ["gpu-pool=h100"],
        "ours-worker3": ["gpu-pool=l40s"],
    }
    patched = [call for call in calls if call[0] == "patch"]
    assert all(json.loads(call[-1])[0]["path"] == "/status/capacity/nvidia.com~1gpu" for call in patched)
    assert len(patched) == 3


def test_env_needs_a_cluster(
    programs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_KIND_NAME", "ours")
    assert cli.main(["env"]) == 1
    assert capsys.readouterr().err == "kindscene: there is no cluster: make one with 'make kind-up'\n"
