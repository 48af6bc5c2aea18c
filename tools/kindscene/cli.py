"""``python -m kindscene``: a kind cluster with Forebay on it, from the shell."""

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence

from devcluster.errors import DevClusterError, KubectlError
from kindscene.contrast import HEADER, contrast
from kindscene.installation import NAME_VARIABLE, Installation, cluster_name
from kindscene.scene import Scene

_EPILOG = f"""\
environment:
  KIND_NODE_IMAGE     node image instead of kind's default
  {NAME_VARIABLE}   name of the cluster (default: forebay)
  BASE_IMAGE, DOCKER, DOCKER_BUILD_FLAGS
                      for building the images: see tools/build-image

kind, kubectl and Helm are taken from PATH, or built from Go modules once; Prometheus is built in any case.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m kindscene",
        description="A kind cluster with Forebay on it: real pods, GPUs by label only.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="make the cluster, or bring it up to date with this checkout")
    commands.add_parser("down", help="remove it")
    commands.add_parser("env", help="print shell lines that let kubectl, helm and forebay use it")
    commands.add_parser("contrast", help="play the same traffic under Forebay and under a plain HPA (15 minutes)")
    options = parser.parse_args(arguments)
    try:
        return _run(options.command)
    except (DevClusterError, KubectlError) as error:
        print(f"kindscene: {error}", file=sys.stderr)
        return 1


def _run(command: str) -> int:
    began = time.monotonic()
    log = print if command != "env" else (lambda _: None)
    installation = Installation(cluster_name(), log=log)
    with contextlib.closing(installation):
        return _do(command, installation, began)


def _do(command: str, installation: Installation, began: float) -> int:
    if command == "down":
        installation.down()
        print(f"kindscene: the kind cluster {installation.kind.name} is gone")
        return 0
    if command == "up":
        installation.up()
        print(f"kindscene: ready after {time.monotonic() - began:.0f} s. Let this shell use it:")
        print('  eval "$(make -s kind-env)"')
        return 0
    if not installation.kind.kubeconfig.exists():
        raise DevClusterError("there is no cluster: make one with 'make kind-up'")
    if command == "contrast":
        scene = Scene(installation)
        scene.deploy()
        print("\n".join([HEADER, *(tally.row() for tally in contrast(scene))]))
        return 0
    for name, value in installation.environment().items():
        print(f'export {name}="{value}"')
    return 0
