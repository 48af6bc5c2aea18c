"""Observe: read engines and gateways from Prometheus, and tell missing, stale and broken apart from zero."""
