"""Forebay with real pods: a kind cluster with the chart, a Prometheus, engines without GPUs, and traffic.

    python -m kindscene up | env | contrast | down      (make kind-up, kind-env, kind-contrast, kind-down)

`Installation` makes all that is there before a model is served, and can be called again at any time; `Scene` is
the served model, `Troubles` what a journey breaks, and `contrast` the same traffic under an HPA. The manifests are
those of `manifests/kind`, which the getting-started page applies by hand.
"""
