"""The images that the cluster needs, built here: no registry is asked for any of them, unless a base image is."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping

from devcluster.binaries import Binaries
from devcluster.errors import DevClusterError
from devcluster.targets import INFERENCE_SIM, PROMETHEUS, Target
from kindscene.places import ROOT

TARGETS = ("operator", "engine-simulator")
PROMETHEUS_IMAGE = "forebay-prometheus:local"
INFERENCE_SIM_IMAGE = "forebay-llm-d-inference-sim:local"
_BUILD_SECONDS = 900


def own_images(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the names that tools/build-image gives its images, the operator's first."""
    tag = environment.get("IMAGE_TAG") or project_version()
    return tuple("forebay" + ("" if target == "operator" else f"-{target}") + f":{tag}" for target in TARGETS)


def project_version() -> str:
    """Return the version in pyproject.toml."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version = "))


def build_own(*, log: Callable[[str], object] = print) -> tuple[str, ...]:
    """Build the operator's and the engines' image, and return their names.

    Raises:
        DevClusterError: the build failed; the message has its last lines.
    """
    log("kindscene: building images (tools/build-image)")
    done = subprocess.run(
        [str(ROOT / "tools" / "build-image"), *TARGETS],
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise DevClusterError(f"tools/build-image failed:\n{(done.stdout + done.stderr)[-3_000:]}")
    return own_images()


def from_binary(binaries: Binaries, target: Target, image: str, *, log: Callable[[str], object] = print) -> str:
    """Make an image of nothing but a static program, which is built first where it is not cached.

    Raises:
        DevClusterError: the program could not be built, or Docker does not answer.
    """
    if not binaries.is_built(target):
        binaries.build([target], log=log)
    program = binaries.path(target.name).resolve()
    label = f"forebay.io/built-from={target.key()}"
    if _label(image) == target.key():
        return image
    with tempfile.TemporaryFile() as archive:
        # Straight from the program's file: no copy of a hundred megabytes on the way.
        rename = f"--transform=s,.*,bin/{target.name},"
        owner = ["--numeric-owner", "--owner=0", "--group=0", "--mode=0755", "--mtime=@0"]
        subprocess.run(
            ["tar", "-C", str(program.parent), *owner, rename, "-c", program.name], stdout=archive, check=True
        )
        archive.seek(0)
        changes = ["-c", f'ENTRYPOINT ["/bin/{target.name}"]', "-c", f"LABEL {label}", "-c", "USER 65532:65532"]
        done = subprocess.run(
            ["docker", "import", *changes, "-", image], stdin=archive, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise DevClusterError(f"docker import of {image} failed:\n{done.stderr.strip()}")
    return image


def prometheus(binaries: Binaries, *, log: Callable[[str], object] = print) -> str:
    """Return the image of Prometheus: the one that `PROMETHEUS_IMAGE` names, else of the pinned release, built.

    Raises:
        DevClusterError: Docker does not have the image that is named, or the program could not be built.
    """
    if named := os.environ.get("PROMETHEUS_IMAGE"):
        done = subprocess.run(
            ["docker", "tag", named, PROMETHEUS_IMAGE], capture_output=True, text=True, timeout=30, check=False
        )
        if done.returncode != 0:
            raise DevClusterError(f"PROMETHEUS_IMAGE={named} is not in Docker: run 'docker pull {named}'")
        return PROMETHEUS_IMAGE
    return from_binary(binaries, PROMETHEUS, PROMETHEUS_IMAGE, log=log)


def inference_sim(binaries: Binaries, *, log: Callable[[str], object] = print) -> str:
    """Return an image of the pinned llm-d-inference-sim, made where it is not there."""
    return from_binary(binaries, INFERENCE_SIM, INFERENCE_SIM_IMAGE, log=log)


def identity(image: str) -> str:
    """Return the id of an image of the local Docker, empty where there is none."""
    return _inspect(image, "{{.Id}}")


def _label(image: str) -> str:
    return _inspect(image, '{{index .Config.Labels "forebay.io/built-from"}}')


def _inspect(image: str, template: str) -> str:
    done = subprocess.run(
        ["docker", "image", "inspect", "-f", template, image],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout.strip()
