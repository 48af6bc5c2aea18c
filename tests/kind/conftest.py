"""What the journeys share: one kind cluster with the chart on it, and a served model at rest before each.

Every test in this directory is marked `kind`. They run where Docker answers and has the node image, else they are
skipped with the reason. The cluster is removed at the end; `FOREBAY_KIND_KEEP=1` keeps it for the next run.
"""

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from devcluster.errors import DevClusterError, KubectlError
from devcluster.kind import IMAGE_VARIABLE, docker_answers, image_at_hand
from kindscene import evidence
from kindscene.installation import Installation
from kindscene.scene import Scene

HERE = Path(__file__).parent
ARTIFACTS = HERE.parents[1] / "build" / "kind-artifacts"
NAME = "forebay-test"
KEEP = "FOREBAY_KIND_KEEP"
ORDER = (
    "test_following",
    "test_gpu_types",
    "test_other_engines",
    "test_telemetry",
    "test_operator",
    "test_nodes",
    "test_release",
)
MADE = pytest.StashKey[Installation]()
MODEL = pytest.StashKey[Scene]()
SERVED = pytest.StashKey[Scene]()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Mark the journeys, and put them in their own order, whatever that of all tests is."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kind)
    yield
    ours = [item for item in items if HERE in item.path.parents]
    # What breaks most comes last; within a file it is as written.
    ours.sort(key=lambda item: (ORDER.index(item.path.stem), item.reportinfo()[1] or 0))
    items[:] = [item for item in items if item not in ours] + ours


def why_not() -> str:
    """Return why there can be no kind cluster here, empty where there can be one."""
    if not docker_answers():
        return "Docker does not answer"
    if not image_at_hand(os.environ):
        named = os.environ.get(IMAGE_VARIABLE) or "kindest/node"
        return f"Docker has no node image {named}: pull one, or set {IMAGE_VARIABLE}"
    return ""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make cluster and model now: it takes minutes, and a test's time limit does not allow for it."""
    if session.config.option.collectonly or not any(HERE in item.path.parents for item in session.items):
        return
    if why_not():
        return
    capture = session.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        try:
            session.config.stash[MADE] = Installation(NAME)
            session.config.stash[MADE].up()
            session.config.stash[MODEL] = Scene(session.config.stash[MADE])
            session.config.stash[MODEL].deploy()
        except (DevClusterError, KubectlError, AssertionError) as error:
            pytest.exit(f"the kind cluster of the journeys did not come up: {error}", returncode=1)


def pytest_sessionfinish(session: pytest.Session) -> None:
    made = session.config.stash.get(MADE, None)
    if made is not None:
        made.close()
        if not os.environ.get(KEEP):
            made.down()


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> Scene:
    """The served model, deployed on a kind cluster with the chart on it."""
    made: Scene | None = request.config.stash.get(MODEL, None)
    if made is None:
        pytest.skip(why_not())
    return made


@pytest.fixture
def scene(model: Scene, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """The served model at rest, in mode Recommend; afterwards whatever the journey broke is mended."""
    request.node.stash[SERVED] = model
    model.calm()
    yield model
    model.troubles.undo()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep events, logs and resources of a failure below build/kind-artifacts, before anything is cleaned up."""
    report = yield
    served = item.stash.get(SERVED, None)
    if report.failed and served is not None:
        folder = ARTIFACTS / item.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in evidence.artifacts(served.cluster).items():
            (folder / name).write_text(text)
        report.sections.append(("artifacts", str(folder)))
    return report
