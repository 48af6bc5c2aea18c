"""Observe: read engines and gateways from Prometheus, and tell missing, stale and broken apart from zero.

``source`` is the port that the loop calls; ``prometheus.PrometheusTelemetry`` is its adapter.
"""
