"""`python -m devcluster`: a development cluster from the shell."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devcluster import background, gpu
from devcluster.binaries import Binaries
from devcluster.errors import DevClusterError
from devcluster.selection import KINDS, VARIABLE, Surroundings, select
from devcluster.targets import ALL, PROVISIONERS

EPILOG = f"""\
examples:
  python -m devcluster build            build the binaries now (6-10 minutes on two cores, once)
  python -m devcluster build --provisioners    Karpenter and LeaderWorkerSet, for their journeys
  python -m devcluster up               start a cluster and leave it running
  eval "$(python -m devcluster env)"    let kubectl and forebay in this shell use it
  python -m devcluster kubectl get nodes
  python -m devcluster add-nodes --pool h100 --accelerator h100 --count 2
  python -m devcluster down

environment:
  {VARIABLE}     {", ".join(KINDS)}: overrides the choice
  KUBEBUILDER_ASSETS  a directory with etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl,
                      used instead of building them
  XDG_CACHE_HOME      built binaries are kept in $XDG_CACHE_HOME/forebay (default ~/.cache/forebay)

A local cluster listens on loopback only, keeps its data in a temporary directory, and is gone without a trace
after `down`.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "kubectl":
        parser.error(f"unknown arguments: {' '.join(rest)}")
    try:
        return _COMMANDS[options.command](options, rest)
    except DevClusterError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devcluster",
        description="A Kubernetes cluster with fake GPU nodes for Forebay's tests and demo; no Docker needed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start a cluster that runs until `down`, and say how to use it")
    commands.add_parser("down", help="end the cluster that `up` started; its data is removed")
    commands.add_parser("status", help="say what would be chosen, what is built, and what runs")
    build = commands.add_parser("build", help="build the binaries of a local cluster, if they are not cached")
    build.add_argument(
        "--for-tests", action="store_true", help="only what the chosen cluster needs, and Helm and promtool"
    )
    build.add_argument(
        "--provisioners",
        action="store_true",
        help=f"only {', '.join(target.name for target in PROVISIONERS)} (8 minutes on two idle cores, once)",
    )
    commands.add_parser("env", help="print shell lines that set KUBECONFIG to the running cluster")
    commands.add_parser("kubectl", help="run kubectl on the running cluster", add_help=False)
    nodes = commands.add_parser("add-nodes", help="register fake GPU nodes, which go through a cold start")
    nodes.add_argument("--pool", default="h100", help="the node pool's name (default: %(default)s)")
    nodes.add_argument("--accelerator", default="h100", choices=list(gpu.ACCELERATORS), help="GPU type")
    nodes.add_argument("--gpus", type=int, default=8, help="GPUs per node (default: %(default)s)")
    nodes.add_argument("--count", type=int, default=1, help="how many nodes (default: %(default)s)")
    nodes.add_argument("--boot", type=float, default=5, metavar="S", help="seconds until Ready")
    nodes.add_argument("--driver", type=float, default=5, metavar="S", help="seconds from Ready to usable GPUs")
    return parser


def _up(_options: argparse.Namespace, _rest: Sequence[str]) -> int:
    running = background.start()
    print(f"It runs until 'python -m devcluster down'.\nexport KUBECONFIG={running.kubeconfig}")
    return 0


def _down(_options: argparse.Namespace, _rest: Sequence[str]) -> int:
    running = background.running()
    if running is None:
        print("devcluster: no cluster runs")
        return 0
    background.stop(running)
    print("devcluster: stopped")
    return 0


def _status(_options: argparse.Namespace, _rest: Sequence[str]) -> int:
    print(select())
    binaries = Binaries.from_environment()
    for target in (*ALL, *PROVISIONERS):
        state = "built" if binaries.is_built(target) else "not built"
        print(f"{target.name:17}{target.version:10}{state:11}{binaries.entry(target)}")
    running = background.running()
    print(f"running: {running.description}" if running else "running: nothing")
    return 0


def _build(options: argparse.Namespace, _rest: Sequence[str]) -> int:
    binaries = Surroundings().binaries
    if options.for_tests:
        build_for_tests(binaries)
        return 0
    if options.provisioners:
        binaries.build([target for target in PROVISIONERS if not binaries.is_built(target)])
        return 0
    binaries.build_missing()
    print(f"devcluster: everything is in {binaries.cache}")
    return 0


def build_for_tests(binaries: Binaries) -> None:
    """Build what the cluster tests need; where Helm and promtool cannot be had, their tests skip and say why.

    Raises:
        DevClusterError: a binary of the local cluster could not be built.
    """
    if select().kind != "kind":
        binaries.build_missing()
    try:
        binaries.helm()
        binaries.promtool()
    except DevClusterError as error:
        print(f"devcluster: the chart's tests will skip: {error}", file=sys.stderr)


def _env(_options: argparse.Namespace, _rest: Sequence[str]) -> int:
    running = _need_running()
    kubectl = Binaries.from_environment().path("kubectl")
    cache = Path(running.kubeconfig).with_name("kubectl-cache")
    print(f"export KUBECONFIG={running.kubeconfig} KUBECACHEDIR={cache}\nexport PATH={kubectl.parent}:$PATH")
    return 0


def _kubectl(_options: argparse.Namespace, rest: Sequence[str]) -> int:
    running = _need_running()
    program = str(Binaries.from_environment().path("kubectl"))
    cache = Path(running.kubeconfig).with_name("kubectl-cache")
    environment = os.environ | {"KUBECONFIG": running.kubeconfig, "KUBECACHEDIR": str(cache)}
    return subprocess.run([program, *rest], env=environment, check=False).returncode


def _add_nodes(options: argparse.Namespace, _rest: Sequence[str]) -> int:
    running = _need_running()
    pool = gpu.NodePool(
        options.pool,
        accelerator=options.accelerator,
        gpus_per_node=options.gpus,
        cold_start=gpu.ColdStart(node_ready_seconds=options.boot, gpus_ready_seconds=options.driver),
    )
    for name in gpu.add_nodes(background.rest(running), pool, options.count):
        print(f"node/{name}")
    return 0


def _need_running() -> background.Running:
    running = background.running()
    if running is None:
        raise DevClusterError("no cluster runs: start one with 'python -m devcluster up'")
    return running


_COMMANDS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "build": _build,
    "env": _env,
    "kubectl": _kubectl,
    "add-nodes": _add_nodes,
}
