"""What the journeys on real provisioners share: a cluster, Forebay's rights, and Karpenter where it is built."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import devcluster
from devcluster.binaries import Binaries
from devcluster.karpenter import karpenter as running_karpenter
from devcluster.targets import CONTROL_PLANE, KARPENTER, KWOK
from runoperator.install import install
from tests.cluster.conftest import namespace as namespace  # noqa: PLC0414 - a fixture for these tests, too

HERE = Path(__file__).parent
_HANGS_SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(_HANGS_SECONDS))


@pytest.fixture(scope="session")
def cluster() -> Iterator[devcluster.Cluster]:
    """A local cluster with the plain install, and the rights that the chart grants for all providers."""
    binaries = Binaries.from_environment()
    missing = [target.name for target in (CONTROL_PLANE, KWOK) if target in binaries.missing()]
    if missing:
        pytest.skip(f"{', '.join(missing)} not built: run 'python -m devcluster build'")
    with devcluster.LocalCluster.start(binaries) as cluster:
        install(cluster)
        cluster.apply(list(yaml.safe_load_all((HERE / "rights.yaml").read_text())))
        yield cluster


@pytest.fixture(scope="session")
def karpenter(cluster: devcluster.Cluster) -> Iterator[devcluster.Component]:
    """Karpenter over a cloud that tests play."""
    if not cluster.binaries.is_built(KARPENTER):
        pytest.skip("Karpenter is not built: run 'python -m devcluster build --provisioners'")
    with running_karpenter(cluster) as component:
        yield component
