"""What all tests share: how hypothesis runs, and the order of the tests.

Every run draws the same examples, and none is timed: a busy machine must not turn a right answer into a failure.
`HYPOTHESIS_PROFILE=explore` draws new ones, many more of them, for a search in depth.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what may take longest, so that no worker is left alone with a long test at the end."""
    items.sort(key=_most_seconds, reverse=True)


def _most_seconds(item: pytest.Item) -> float:
    """Return the time limit that a test was given, 0 where it has only the common one."""
    marker = item.get_closest_marker("timeout")
    return 0.0 if marker is None else float(marker.args[0])
