"""The simulator's own errors, each one sentence for a person."""


class EngineSimError(ValueError):
    """A setting, a workload or a request to the simulator that cannot be used."""
