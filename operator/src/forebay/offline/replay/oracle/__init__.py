"""The clairvoyant oracle: what a fleet would cost that knew the future."""

from forebay.offline.replay.oracle.cheapest import FAST, THOROUGH, Effort, Oracle, oracle

__all__ = ["FAST", "THOROUGH", "Effort", "Oracle", "oracle"]
