"""What all tests share: how hypothesis runs.

Every run draws the same examples, and none is timed: a busy machine must not turn a right answer into a failure.
`HYPOTHESIS_PROFILE=explore` draws new ones, many more of them, for a search in depth.
"""

import os

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
