"""CRDs of other projects, from their Go modules: checked by Go's checksum database, cached by Go."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from devcluster import golang
from devcluster.binaries import cache_directory
from devcluster.errors import DevClusterError
from devcluster.targets import ALL

GATEWAY_INFERENCE_EXTENSION = "sigs.k8s.io/gateway-api-inference-extension"
_TIMEOUT_SECONDS = 300


def upstream_crds(
    module: str, version: str, directory: str = "config/crd/bases", *, log: Callable[[str], object] = print
) -> list[Path]:
    """Return the CRD files of a Go module, sorted by name.

    Args:
        module: the module's path.
        version: its version, `v1.2.3`.
        directory: where in the module the CRDs are.
        log: told if Go has to be installed first.

    Raises:
        DevClusterError: the module cannot be had, or has no YAML files there.
    """
    go = golang.find_go(cache_directory(), [target.directory for target in ALL], log=log)
    answer = subprocess.run(
        [go, "mod", "download", "-json", f"{module}@{version}"],
        cwd=cache_directory(),  # outside any module
        env=golang.go_environment(),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    try:
        described = json.loads(answer.stdout)
    except json.JSONDecodeError:
        described = {"Error": answer.stderr.strip() or f"go ended with status {answer.returncode}"}
    if "Error" in described:
        raise DevClusterError(f"the Go module {module}@{version} cannot be had: {described['Error']}")
    files = sorted((Path(described["Dir"]) / directory).glob("*.yaml"))
    if not files:
        raise DevClusterError(f"{module}@{version} has no YAML files in {directory}")
    return files
