"""Forebay with real pods: a kind cluster with the chart, a Prometheus, engines without GPUs, and traffic.

    python -m kindscene up | env | down | status        (make kind-up, kind-down)

`Installation` makes all that is there before a model is served, and can be called again at any time; `Scene` is
the served model and everything that a journey does to it. The manifests are those of `manifests/kind`, which the
getting-started page applies by hand.
"""
