"""Render the chart with Helm where there is one; tests never build it within their time limits."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.binaries import Binaries
from devcluster.targets import HELM

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "forebay"


def helm_program() -> str:
    binaries = Binaries.from_environment()
    if binaries.is_built(HELM):
        return str(binaries.path("helm"))
    found = shutil.which("helm")
    if found is None:
        pytest.skip("there is no Helm: make test-cluster builds it, or put one on PATH")
    return found


def helm(*arguments: str, values: object = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    text = json.dumps(values) if values is not None else "{}"
    return subprocess.run(
        [helm_program(), *arguments, "-f", "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def render(values: object = None) -> list[dict[str, Any]]:
    result = helm("template", "forebay", str(CHART), "-n", "forebay-system", values=values)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(item for item in documents if item["kind"] == kind and item["metadata"]["name"] == name)


def kinds(documents: list[dict[str, Any]]) -> set[str]:
    return {item["kind"] for item in documents}
