"""What would come at once for a whole fleet is taken in turns: so much of it per round, in order."""

from dataclasses import dataclass

FEWEST_STEPS = 5
"""Before, a forecaster knows too little to say anything."""
_FIXED_STEPS = 8
"""What making the state for a lead time costs beside the replay, in steps of replayed history."""
_STEPS_PER_ROUND = 1000
"""Of history replayed in one round: about .3 s of computing, or the beginning of some eighty new forecasters."""


@dataclass(slots=True)
class Turns:
    """How much of one round's allowance for new forecasting state is left, in steps of replayed history."""

    left_steps: int = _STEPS_PER_ROUND

    def take(self, history_steps: int) -> bool:
        """Return whether a pool with that much history has its turn now; one has, however long its history."""
        if self.left_steps <= 0:
            return False
        self.left_steps -= _FIXED_STEPS + history_steps
        return True
