"""docs/install.md: its values are taken, and its commands run, in their order, on a real API server."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from tests.cluster.chart_helm import CHART, EXAMPLES, ROOT, Helm, helm_for, render

PAGE = (ROOT / "docs" / "install.md").read_text()
#: No pods, which KWOK would play; what the cluster of the tests has once, it keeps.
SETTINGS = (
    "replicas=0,crds.enabled=false,rbac.aggregate=false,serviceMonitor.enabled=false,prometheusRule.enabled=false"
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines()]


@pytest.mark.parametrize("block", blocks("yaml"))
def test_the_pages_values_are_taken(block: str) -> None:
    values: dict[str, Any] = yaml.safe_load(block)
    assert render(values)


@pytest.mark.parametrize("example", ["tenant", "managed"])
def test_the_page_shows_the_examples_as_they_are(example: str) -> None:
    values = yaml.safe_load((CHART / "examples" / f"{example}.yaml").read_text())
    assert values in [yaml.safe_load(block) for block in blocks("yaml")]


def test_the_page_names_every_example_and_none_that_is_not_there() -> None:
    assert set(re.findall(r"examples/([\w-]+)\.yaml", PAGE)) == {path.stem for path in EXAMPLES}


@pytest.fixture
def helm(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Helm]:
    helm = helm_for(cluster, tmp_path, namespace)
    yield helm
    helm.forget_all()


def test_the_pages_commands_run_in_their_order(cluster: Cluster, namespace: str, helm: Helm) -> None:
    assert len(commands()) >= 12
    for command in commands():
        program, *words = shlex.split(command.replace("charts/forebay", str(CHART)))
        # One namespace stands for all of the page's; `helm` adds it.
        here = [namespace if word in {"forebay-system", "team-a"} else word for word in words]
        if program == "kubectl":
            cluster.kubectl(*here)
            continue
        assert program == "helm", command
        settings = ["--set", SETTINGS] if here[0] in {"install", "upgrade"} else []
        if "one-namespace.yaml" in command:
            # Beside the other release of its name, in the namespace that stands for both.
            here[1] = "forebay-team-a"
            settings[1] += f",watchNamespaces={{{namespace}}},fullnameOverride=team-a"
        if "shared-parts.yaml" in command:
            settings[1] += ",fullnameOverride=shared"
        helm(*here, *settings)
