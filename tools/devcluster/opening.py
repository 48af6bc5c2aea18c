"""From a choice to a running cluster."""

from collections.abc import Callable

from devcluster.binaries import Binaries
from devcluster.cluster import Cluster
from devcluster.errors import DevClusterError
from devcluster.existing import ExistingCluster
from devcluster.local import LocalCluster
from devcluster.selection import KIND_LATER, Choice, select


def open(  # noqa: A001  (read as devcluster.open)
    choice: Choice | None = None, *, log: Callable[[str], object] = print
) -> Cluster:
    """Start, or connect to, the cluster of a choice; build what it needs first.

    Use it in a `with` statement: leaving it ends all that was started.

    Args:
        choice: from `select`; made here when left out.
        log: told what is chosen, built and started, a line at a time.

    Raises:
        DevClusterError: the kind cannot be had; the message says what to do.
    """
    chosen = choice or select()
    log(f"devcluster: {chosen}")
    if chosen.kind == "kind":
        raise DevClusterError(KIND_LATER)
    binaries = Binaries.from_environment()
    binaries.build_missing(log=log)
    cluster: Cluster
    if chosen.kind == "kubeconfig":
        cluster = ExistingCluster.start(binaries)
    else:
        cluster = LocalCluster.start(binaries, log=log)
    log(f"devcluster: {cluster.describe()}")
    return cluster
