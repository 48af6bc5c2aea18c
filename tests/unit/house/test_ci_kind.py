"""The tests on kind run where they can; where they cannot, one line says why, quickly and without a failure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci" / "kind"
_DOCKER = """#!/bin/sh
echo "$@" >> "$0.calls"
case "$1" in
  info) [ -z "$SILENT" ] ;;
  image) case " $HAS " in *" $4 "*) echo 0123456789ab ;; esac ;;
  pull) case " $SERVES " in *" $3 "*) exit 0 ;; *) exit 1 ;; esac ;;
esac
"""
_MAKE = """#!/bin/sh
echo "make $* with $KIND_NODE_IMAGE"
exit ${MAKE_STATUS:-0}
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH with nothing but what the script uses: no Docker, and a make that only says how it was called."""
    for name in ("bash", "dirname", "timeout", "env"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    _program(tmp_path / "make", _MAKE)
    return tmp_path


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _run(programs: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(programs / "bash"), str(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": str(programs), "HOME": os.environ.get("HOME", "/")} | environment,
    )


def test_without_docker_they_are_skipped(programs: Path) -> None:
    done = _run(programs)
    assert (done.returncode, done.stdout) == (0, "kind tests: SKIPPED because there is no docker here\n")


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"SILENT": "1"}, "docker does not answer"),
        ({"HAS": "base:1"}, "docker neither has nor can pull the node image node:1 (KIND_NODE_IMAGE)"),
        ({"HAS": "node:1"}, "docker neither has nor can pull the base image base:1 (BASE_IMAGE)"),
        ({"KIND_PREPARE": "false now"}, "KIND_PREPARE (false now) failed"),
    ],
)
def test_what_is_missing_is_said(programs: Path, environment: dict[str, str], why: str) -> None:
    _program(programs / "docker", _DOCKER)
    _program(programs / "false", "#!/bin/sh\nexit 1\n")
    done = _run(programs, KIND_NODE_IMAGE="node:1", BASE_IMAGE="base:1", **environment)
    assert (done.returncode, done.stdout) == (0, f"kind tests: SKIPPED because {why}\n")


@pytest.mark.parametrize("images", [{"HAS": "node:1 base:1"}, {"SERVES": "node:1 base:1"}])
def test_they_run_with_images_that_are_there_or_can_be_pulled(programs: Path, images: dict[str, str]) -> None:
    _program(programs / "docker", _DOCKER)
    done = _run(programs, KIND_NODE_IMAGE="node:1", BASE_IMAGE="base:1", **images)
    assert done.returncode == 0
    assert "make kind-test with node:1" in done.stdout
    assert "SKIPPED" not in done.stdout


def test_their_failure_is_one(programs: Path) -> None:
    _program(programs / "docker", _DOCKER)
    done = _run(programs, KIND_NODE_IMAGE="node:1", BASE_IMAGE="base:1", HAS="node:1 base:1", MAKE_STATUS="2")
    assert done.returncode == 2
    assert "passed" not in done.stdout
