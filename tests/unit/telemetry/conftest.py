"""What the telemetry's unit tests share."""

from collections.abc import Iterator

import pytest

from tests.unit.telemetry.fake_server import FakeServer, running


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with running() as fake:
        yield fake
