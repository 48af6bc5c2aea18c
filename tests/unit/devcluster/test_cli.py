"""The command line says what is there, and what to do where nothing is."""

import json
import os
from pathlib import Path

import pytest

from devcluster import background, cli
from devcluster.targets import ALL, PROVISIONERS


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FOREBAY_CLUSTER", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    (tmp_path / "forebay").mkdir()
    return tmp_path / "forebay"


def test_the_help_shows_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert "python -m devcluster up" in text
    assert "FOREBAY_CLUSTER" in text


@pytest.mark.parametrize("command", [["env"], ["kubectl", "get", "nodes"], ["add-nodes"]])
def test_without_a_cluster_it_says_how_to_get_one(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command) == 1
    assert "start one with 'python -m devcluster up'" in capsys.readouterr().err


def test_down_without_a_cluster_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["down"]) == 0
    assert "no cluster runs" in capsys.readouterr().out


def test_status_says_what_would_be_chosen_and_what_is_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("cluster: local, because")
    assert text.count("not built") == len((*ALL, *PROVISIONERS))
    assert text.endswith("running: nothing\n")


def test_a_wrong_choice_is_a_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_CLUSTER", "swarm")
    assert cli.main(["status"]) == 1
    assert "set it to one of local, kind, kubeconfig" in capsys.readouterr().err


@pytest.mark.parametrize("state", ["", "{", "[]", json.dumps({"pid": 1})])
def test_a_broken_state_file_means_that_nothing_runs(cache: Path, state: str) -> None:
    (cache / "running.json").write_text(state)
    assert background.running() is None


def test_a_pid_that_became_somebody_elses_is_not_taken_for_the_cluster(cache: Path) -> None:
    state = {"pid": os.getpid(), "kubeconfig": "/nowhere", "description": "an old one"}
    (cache / "running.json").write_text(json.dumps(state))
    assert background.running() is None
