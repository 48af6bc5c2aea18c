"""Plan: from the needs of all pools to replicas per variant."""
