"""The one exception that building a scenario raises."""


class BuildError(ValueError):
    """What was given cannot be replayed; one sentence says what to change."""
