"""From a choice to a running cluster."""

from collections.abc import Callable

from devcluster.binaries import Binaries
from devcluster.cluster import Cluster
from devcluster.existing import ExistingCluster
from devcluster.kind import KindCluster
from devcluster.local import LocalCluster
from devcluster.selection import Choice, select
from devcluster.targets import CONTROL_PLANE


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
    binaries = Binaries.from_environment()
    cluster: Cluster
    if chosen.kind == "kind":
        binaries.kubectl(log=log)
        binaries.build([target for target in binaries.missing() if target is not CONTROL_PLANE], log=log)
        cluster = KindCluster.make(binaries, log=log)
        log(f"devcluster: {cluster.describe()}")
        return cluster
    binaries.build_missing(log=log)
    if chosen.kind == "kubeconfig":
        cluster = ExistingCluster.start(binaries)
    else:
        cluster = LocalCluster.start(binaries, log=log)
    log(f"devcluster: {cluster.describe()}")
    return cluster
