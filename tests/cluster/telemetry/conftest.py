"""A Prometheus that takes written samples, and names that no other test's samples have."""

import hashlib
from collections.abc import Iterator

import pytest

from tests.cluster.telemetry_world import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("telemetry"))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """A namespace that no other test's samples have."""
    return "t" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
