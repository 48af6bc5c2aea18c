"""values.yaml, its schema and the generated README agree. What needs Helm is tested beside the cluster."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

import chartdocs
from forebay.cli.run import command
from forebay.runtime.settings import settings_table

CHART = Path(__file__).resolve().parents[3] / "charts" / "forebay"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of the schema that lists its properties, with its path."""
    if "properties" in schema:
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from objects(inner, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from objects(schema["items"], f"{path}[]")


def test_generated_files_are_current() -> None:
    assert chartdocs.main(["--check"]) == 0


def test_every_value_is_documented() -> None:
    described = chartdocs.documented((CHART / "values.yaml").read_text())

    def undocumented(values: Any, path: str) -> list[str]:
        if path in described:
            return []
        if not isinstance(values, dict):
            return [path]
        return [bad for key, value in values.items() for bad in undocumented(value, f"{path}.{key}".lstrip("."))]

    assert undocumented(VALUES, "") == []


def test_the_schema_knows_the_values_and_no_others() -> None:
    for path, schema in objects(SCHEMA):
        if "[]" in path:
            continue
        values: Any = VALUES
        for name in filter(None, path.split(".")):
            values = values[name]
        # Whatever the parent chart hands to all of its charts.
        assert set(schema["properties"]) - {"global"} == set(values), path


def test_the_schema_takes_nothing_that_it_does_not_know() -> None:
    assert [path for path, schema in objects(SCHEMA) if schema.get("additionalProperties") is not False] == []


#: Settings that an installation in a cluster has no use for, or that `extraArgs` is for.
NOT_IN_THE_CHART = {
    "listen_host",
    "listen_port",
    "kubeconfig",
    "context",
    "leader_election",
    "lease_namespace",
    "forecast_step_seconds",
}


def test_every_setting_is_set_by_a_value_or_has_no_place_in_a_chart() -> None:
    deployment = (CHART / "templates" / "deployment.yaml").read_text()
    by_hand = {
        setting.field
        for setting in settings_table()
        if setting.variable in deployment or f"{setting.flag}=" in deployment
    }
    by_value = {setting.field for setting in settings_table() if setting.option.chart}
    every = {setting.field for setting in settings_table()}
    assert by_hand & by_value == set(), "set twice"
    assert by_hand | by_value | NOT_IN_THE_CHART == every
    assert (by_hand | by_value) & NOT_IN_THE_CHART == set()


def test_values_and_settings_have_the_same_defaults() -> None:
    options = {option.name: option for option in command.params}
    for setting in settings_table():
        if not setting.option.chart:
            continue
        value: Any = VALUES
        for name in setting.option.chart.split("."):
            value = value[name]
        if not setting.default:
            assert not value, setting.option.chart
            continue
        option = options[setting.field]
        assert option.type.convert(value, option, None) == setting.default, setting.option.chart
