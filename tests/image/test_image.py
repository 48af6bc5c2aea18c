"""The operator's image, built here: what is in it, what is not, and that a second build gives the same.

Where Docker does not answer the tests are skipped; tools/build-image says what a build needs (BASE_IMAGE and
DOCKER_BUILD_FLAGS, where there is no registry).
"""

import os
import subprocess
from collections.abc import Iterator
from itertools import islice

import pytest

import imagecheck
from devcluster.kind import docker_answers

DOCKER = os.environ.get("DOCKER", "docker")
#: As a cluster runs it: nothing may be written, nothing may be asked for, nobody in particular.
RESTRICTED = ["--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges"]


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    if not docker_answers():
        pytest.skip("Docker does not answer")
    name = imagecheck.build("test-1")
    yield name
    subprocess.run([DOCKER, "image", "rm", name], stdout=subprocess.DEVNULL, check=True, timeout=60)


@pytest.fixture(scope="module")
def inside(image: str) -> imagecheck.Image:
    return imagecheck.read(image, DOCKER)


def run(image: str, *arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [DOCKER, "run", "--rm", *RESTRICTED, *flags, image, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.timeout(900)
def test_it_runs_for_any_user_on_a_root_that_cannot_be_written(image: str) -> None:
    for flags in ((), ("--user=12345:12345",)):
        done = run(image, "crds", flags=flags)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("kind: CustomResourceDefinition") == 4


@pytest.mark.timeout(900)
def test_the_operator_starts_as_far_as_it_can_without_a_cluster(image: str) -> None:
    done = run(image)
    assert done.returncode == 2
    assert "Error: No access to a cluster" in done.stderr


@pytest.mark.timeout(900)
def test_the_replay_is_left_out_and_says_so(image: str) -> None:
    done = run(image, "replay", "--trace", "requests.csv")
    assert done.returncode == 2
    assert done.stderr == (
        "Error: there is no replay here: the operator's image leaves it out; install the package forebay\n"
    )


@pytest.mark.timeout(900)
def test_nothing_that_only_replay_or_development_needs_is_in_it(image: str) -> None:
    unwanted = (
        "forebay.offline numba llvmlite matplotlib rich pip setuptools pytest "
        "hypothesis mypy ruff cryptography enginesim enginepod devcluster"
    )
    script = (
        "import importlib.util as u, sys\n"
        f"print([name for name in {unwanted.split()} if name.count('.') and u.find_spec(name) "
        "or not name.count('.') and (s := u.find_spec(name)) and '/opt/' in (s.origin or '/opt/')])"
    )
    done = run(image, "-c", script, flags=("--entrypoint=/opt/forebay/bin/python",))
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.timeout(900)
def test_every_module_that_is_in_it_loads(image: str) -> None:
    """Protects from a dependency that needs what the build took away."""
    script = (
        "import importlib, pkgutil, forebay\n"
        "for module in pkgutil.walk_packages(forebay.__path__, 'forebay.'):\n"
        "    module.name.endswith('__main__') or importlib.import_module(module.name)\n"
    )
    done = run(image, "-c", script, flags=("--entrypoint=/opt/forebay/bin/python",))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.timeout(900)
def test_its_labels_say_what_it_is(inside: imagecheck.Image) -> None:
    labels = inside.configuration["Labels"]
    names = {name.removeprefix("org.opencontainers.image.") for name in labels}
    assert names == {"title", "description", "licenses", "base.name", "version", "revision", "created"}
    assert all(labels.values())
    assert inside.configuration["User"] == "65532:65532"


@pytest.mark.timeout(900)
def test_it_stays_small(inside: imagecheck.Image) -> None:
    assert inside.layers[-1].compressed_bytes < 45e6


@pytest.mark.timeout(900)
def test_a_second_build_gives_the_same(inside: imagecheck.Image) -> None:
    second = imagecheck.build("test-2", "--no-cache")
    try:
        assert list(islice(imagecheck.differences(inside, imagecheck.read(second, DOCKER)), 20)) == []
    finally:
        subprocess.run([DOCKER, "image", "rm", second], stdout=subprocess.DEVNULL, check=True, timeout=60)
