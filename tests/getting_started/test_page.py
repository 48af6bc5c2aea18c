"""docs/getting-started.md works as written: every command of it, on a kind cluster that it makes and removes.

Runs with `make kind-test`, where Docker answers and has the node image; else it is skipped with the reason. The
cluster has a name of its own, so that nothing of a reader's is touched.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.kind import IMAGE_VARIABLE, docker_answers, image_at_hand
from kindscene.installation import NAME_VARIABLE
from tests.getting_started import page

pytestmark = pytest.mark.kind

ROOT = Path(__file__).resolve().parents[2]
NAME = "forebay-page"
MARK = "=== step"


@pytest.fixture
def reader() -> Iterator[dict[str, str]]:
    """The environment of somebody who reads the page; the cluster is gone afterwards, whatever happened."""
    if not docker_answers():
        pytest.skip("Docker does not answer")
    if not image_at_hand(os.environ):
        pytest.skip(f"Docker has no node image: pull kindest/node, or set {IMAGE_VARIABLE}")
    environment = os.environ | {NAME_VARIABLE: NAME}
    environment.pop("KUBECONFIG", None)
    yield environment
    subprocess.run(["make", "-s", "kind-down"], cwd=ROOT, env=environment, check=True, timeout=120)


@pytest.mark.timeout(1200)
def test_every_command_of_the_page_works_in_its_order(reader: dict[str, str], tmp_path: Path) -> None:
    steps = page.steps(page.PAGE.read_text())
    transcript = tmp_path / "transcript"
    began = time.monotonic()
    with transcript.open("w") as stream:
        done = subprocess.run(
            ["bash", "-c", page.script(steps, MARK)],
            cwd=ROOT,
            env=reader,
            stdout=stream,
            check=False,
            timeout=1100,
        )
    printed = transcript.read_text()
    kept = ROOT / "build" / "kind-artifacts" / "getting-started.txt"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(transcript, kept)
    assert done.returncode == 0, f"after {time.monotonic() - began:.0f} s:\n{printed[-6000:]}"
    outputs = [part.partition("\n")[2] for part in printed.split(MARK)[1:]]
    assert len(outputs) == len(steps) + 1
    wrong = {
        step.commands: lines
        for step, output in zip(steps, outputs, strict=False)
        if (lines := page.missing(step.shown, output))
    }
    assert not wrong, printed
