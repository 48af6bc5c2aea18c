"""Sliding windows over what a metric said."""

from collections import deque


class Window:
    """Values with their times, of the last ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: deque[tuple[float, float]] = deque()

    def add(self, at_seconds: float, value: float) -> None:
        """Take a value and forget what is older than the window."""
        self._values.append((at_seconds, value))
        while self._values[0][0] <= at_seconds - self._seconds:
            self._values.popleft()

    def mean(self) -> float:
        """Return the mean of the values in the window."""
        return sum(value for _, value in self._values) / len(self._values)

    def highest(self) -> float:
        """Return the largest value in the window."""
        return max(value for _, value in self._values)

    def lowest(self) -> float:
        """Return the smallest value in the window."""
        return min(value for _, value in self._values)
