"""The command: JSON, errors, interrupts, the table."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from forebay.offline.replay.command import command
from forebay.offline.replay.inputs.build_error import BuildError
from forebay.offline.replay.jobs.job import UnknownPolicyError, policies_named
from forebay.offline.replay.results.output import Replay, against_oracle
from forebay.offline.replay.results.table import to_table
from forebay.telemetry.settings import PrometheusSettings
from tests.unit.api.manifests import SAMPLES
from tests.unit.replay.outcomes import outcome, ten_minutes

SHORT = ["--preset", "steady", "--until", "5m", "--rate", "5", "--jobs", "1"]


def _json(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(command, [*SHORT, "-o", "json", *arguments])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_json_has_what_is_promised() -> None:
    found = _json("--policies", "forebay,hpa")
    assert {"name", "requests", "span_seconds"} <= found["trace"].keys()
    assert {"ttft_seconds", "itl_seconds", "target"} <= found["slo"].keys()
    promised = {
        "name",
        "knob",
        "slo_attainment",
        "ttft_p50_seconds",
        "ttft_p99_seconds",
        "itl_p99_seconds",
        "goodput_requests_per_second",
        "unserved_requests",
        "gpu_hours",
        "cost_usd",
        "cost_over_oracle",
        "energy_kwh",
        "scale_actions_per_hour",
        "wall_seconds",
    }
    assert {policy["name"] for policy in found["policies"]} == {"forebay", "hpa"}
    assert all(promised <= policy.keys() for policy in found["policies"])
    assert len(found["frontier"]) == 2
    assert found["verdict"].startswith("Forebay ")


def test_the_same_seed_gives_the_same_figures() -> None:
    def figures(seed: str) -> list[tuple[str, float, float]]:
        policies = _json("--policies", "hpa", "--seed", seed)["policies"]
        return [(p["name"], p["cost_usd"], p["ttft_p99_seconds"]) for p in policies]

    first = figures("3")
    assert first == figures("3")
    assert first != figures("4")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policies", "nobody"], "no policy is named 'nobody'; there are all, forebay, oracle"),
        (["--preset", "nothing"], "no preset is named 'nothing'"),
        (["--trace", "missing.csv"], "missing.csv"),
        (["--trace", "missing.csv", "--preset", "chat"], "not both"),
        (["--prometheus", "http://127.0.0.1:1"], "--pool-ref"),
        (["--pool", "missing.yaml", "--preset", "steady"], "missing.yaml cannot be read"),
        (["--start-up", "soon"], "is no duration"),
        (["--policies", "heterscale"], "did you mean heteroscale? There are all, forebay"),
        (["--policies", ","], "--policies is empty"),
        (["--from", "30h"], "--from 30h skips all of the traffic, which spans 24 h"),
        (["--from", "2h", "--until", "1h"], "--until must be later than --from"),
        (["chat.csv"], "put --trace before 'chat.csv'"),
        (["--report", "no/such/place.html"], "there is no directory"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(command, arguments, standalone_mode=True)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_past_is_read_of_one_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects: two clusters in one Prometheus with equal names were summed."""
    asked: list[PrometheusSettings] = []

    def read(_: object, settings: PrometheusSettings, **__: object) -> None:
        asked.append(settings)
        raise BuildError("enough")

    monkeypatch.setattr("forebay.offline.replay.command.recorded_trace", read)
    smallest = str(SAMPLES / "inferencepool-smallest.yaml")
    words = ["--prometheus", "http://p:9090", "--pool-ref", "serving/chat", "--pool", smallest]
    result = CliRunner().invoke(command, [*words, "--prometheus-match-label", "cluster=eu-1"])
    assert "enough" in result.output
    assert asked[0].match_labels == {"cluster": "eu-1"}


def test_a_product_means_all_its_recipes() -> None:
    assert set(policies_named(["dynamo", "hpa"])) == {"dynamo-throughput", "dynamo-load", "dynamo-sla", "hpa"}
    with pytest.raises(UnknownPolicyError):
        policies_named(["dyn"])


def test_help_shows_examples_and_exit_codes_as_they_are_written() -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    assert "\\b" not in text
    assert "\x08" not in text
    assert "\n      forebay replay --trace chat.csv --pool pool.yaml\n" in text
    assert "\n    130  interrupted" in text
    assert all(len(line) <= 110 for line in text.splitlines())


def test_an_interrupt_prints_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    made = outcome("forebay", cost=1.0, attained=1.0)

    def interrupted(*_: object, **__: object) -> Any:
        yield 0, made
        raise KeyboardInterrupt

    monkeypatch.setattr("forebay.offline.replay.command.run_jobs", interrupted)
    result = CliRunner().invoke(command, [*SHORT, "--policies", "forebay,hpa"])
    assert result.exit_code == 130
    assert "forebay" in result.output
    assert "Interrupted" in result.output


def test_an_interrupt_before_anything_is_done_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> Any:
        raise KeyboardInterrupt

    def interrupted(*_: object, **__: object) -> Any:
        yield from map(interrupt, [0])

    monkeypatch.setattr("forebay.offline.replay.command.run_jobs", interrupted)
    result = CliRunner().invoke(command, [*SHORT, "--policies", "forebay,hpa"])
    assert result.exit_code == 130
    assert result.output == "interrupted before any policy was done\n"


def test_the_table_fits_110_columns_and_ranks() -> None:
    outcomes = against_oracle(
        [
            outcome("hpa", cost=1_234_567.0, attained=0.5, knob=0.8),
            outcome("forebay", cost=120.0, attained=0.995),
            outcome("oracle", cost=100.0, attained=0.99, hindsight=True),
        ]
    )
    table = to_table(Replay(scenario=ten_minutes().scenario, outcomes=outcomes, command="forebay replay", seed=0))
    assert max(len(line) for line in table.splitlines()) <= 110
    assert table.index("oracle*") < table.index("forebay ") < table.index("below the target") < table.index("hpa ")
    assert "1.20x" in table
