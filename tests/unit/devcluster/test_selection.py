"""The kind of cluster is chosen by what is there, fastest first, and said why."""

from pathlib import Path

import pytest

from devcluster.binaries import Binaries
from devcluster.errors import DevClusterError
from devcluster.selection import Choice, Surroundings, select
from devcluster.targets import ALL, CONTROL_PLANE


def _build(binaries: Binaries, *, leave_out: str = "") -> None:
    for target in ALL:
        if target.name != leave_out:
            binaries.entry(target).mkdir(parents=True)
            (binaries.entry(target) / target.name).touch()


def _surroundings(binaries: Binaries, *, wanted: str | None = None, kind_at_hand: bool = False) -> Surroundings:
    environment = {} if wanted is None else {"FOREBAY_CLUSTER": wanted}
    return Surroundings(environment, binaries, lambda: kind_at_hand)


@pytest.fixture
def binaries(tmp_path: Path) -> Binaries:
    return Binaries(tmp_path / "cache")


@pytest.mark.parametrize("kind", ["local", "kind", "kubeconfig"])
def test_the_environment_decides(binaries: Binaries, kind: str) -> None:
    assert select(_surroundings(binaries, wanted=kind)) == Choice(kind, "FOREBAY_CLUSTER says so")


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_is_none(binaries: Binaries, empty: str) -> None:
    assert select(_surroundings(binaries, wanted=empty)).kind == "local"


def test_an_unknown_kind_is_refused_with_the_known_ones(binaries: Binaries) -> None:
    with pytest.raises(DevClusterError, match="is 'minikube': set it to one of local, kind, kubeconfig"):
        select(_surroundings(binaries, wanted="minikube"))


def test_cached_binaries_come_before_docker_is_even_asked(binaries: Binaries) -> None:
    _build(binaries)

    def never() -> bool:
        raise AssertionError("asked Docker although all is cached")

    choice = select(Surroundings({}, binaries, never))
    assert choice == Choice("local", f"its binaries are cached in {binaries.cache}")


def test_a_missing_binary_is_named(binaries: Binaries) -> None:
    _build(binaries, leave_out="prometheus")
    reason = select(_surroundings(binaries)).reason
    assert "prometheus must be built once" in reason
    assert "kwok" not in reason


def test_assets_that_lack_a_program_are_explained(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    reason = select(_surroundings(Binaries(tmp_path / "cache", tmp_path / "assets"))).reason
    assert "lacks etcd, kube-apiserver" in reason


def test_complete_assets_are_the_reason(tmp_path: Path) -> None:
    binaries = Binaries(tmp_path / "cache", tmp_path / "assets")
    _build(binaries, leave_out="controlplane")
    (tmp_path / "assets").mkdir()
    for program in CONTROL_PLANE.commands:
        (tmp_path / "assets" / program).touch(mode=0o755)
    assert "KUBEBUILDER_ASSETS" in select(_surroundings(binaries)).reason


def test_kind_at_hand_comes_before_a_build(binaries: Binaries) -> None:
    choice = select(_surroundings(binaries, kind_at_hand=True))
    assert choice.kind == "kind"
    assert "kwok" in choice.reason
