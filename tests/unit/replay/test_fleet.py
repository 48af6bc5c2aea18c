"""Several models that share GPUs: the sample fleet, and what its replay says of each pool."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from forebay.offline.replay.command import command

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "fleet-three-models.yaml"
POOLS = {"serving/dialog": 100, "serving/completion": 50, "serving/summaries": 10}


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ten minutes in which the sixteen GPUs are too few for everybody."""
    report = tmp_path_factory.mktemp("fleet") / "report.html"
    rates = {"dialog": 30, "completion": 60, "summaries": 12}
    presets = [word for name, rate in rates.items() for word in ("--preset", f"{name}=steady@{rate}")]
    run = ["--fleet", str(SAMPLE), *presets, "--until", "10m", "--start-up", "30s", "--jobs", "1"]
    result = CliRunner().invoke(
        command, [*run, "--policies", "forebay,hpa", "-o", "json", "--report", str(report)]
    )
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found | {"report": report.read_text()}


def test_every_pool_has_its_own_objectives_and_figures(replayed: dict[str, Any]) -> None:
    assert {name: pool["priority"] for name, pool in replayed["pools"].items()} == POOLS
    assert {pool["target"] for pool in replayed["pools"].values()} == {0.99, 0.95, 0.9}
    for policy in replayed["policies"]:
        assert policy["attainment_by_pool"].keys() == POOLS.keys()
    assert "the target of every pool" in replayed["verdict"]


def test_the_report_shows_every_pool(replayed: dict[str, Any]) -> None:
    assert "By pool" in replayed["report"]
    for name, priority in POOLS.items():
        assert f"{name}<br>priority {priority}" in replayed["report"]
        assert f"{name} under forebay" in replayed["report"]


def test_who_comes_first_is_what_the_priorities_say(replayed: dict[str, Any]) -> None:
    own = next(policy for policy in replayed["policies"] if policy["name"] == "forebay")
    by_pool = own["attainment_by_pool"]
    assert by_pool["serving/dialog"] >= by_pool["serving/summaries"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "dialog=chat@fast"], "write the requests/s behind @ as a positive number"),
        (["--preset", "nobody=chat"], "'nobody' names no pool"),
        (["--preset", "dialog=chat"], "no trace is given for serving/completion, serving/summaries"),
        (["--preset", "chat"], "the fleet has 3 pools"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(command, ["--fleet", str(SAMPLE), "--until", "5m", *arguments])
    assert result.exit_code == 2
    assert words in result.output


def test_the_table_says_what_each_pool_got() -> None:
    presets = [w for name in ("dialog", "completion", "summaries") for w in ("--preset", f"{name}=steady@2")]
    arguments = ["--fleet", str(SAMPLE), *presets, "--until", "5m", "--policies", "hpa", "--jobs", "1"]
    text = CliRunner().invoke(command, arguments).output
    assert "SLO met by pool" in text
    head = next(line for line in text.splitlines() if line.startswith("SLO met by pool"))
    assert head.index("dialog") < head.index("completion") < head.index("summaries")
    assert max(len(line) for line in text.splitlines()) <= 110
