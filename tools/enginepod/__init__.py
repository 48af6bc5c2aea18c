"""An inference engine in a pod of its own, without a GPU, and traffic for it: for clusters with real kubelets.

    python -m enginepod engine --help
    python -m enginepod load --help

`engine` answers OpenAI-style requests at the times that `forebay.offline.simulation` would give, and serves
the metrics of vLLM; where `enginesim` plays all pods of a KWOK cluster in one process, here each pod is one engine
with sockets of its own. `load` sends requests after a trace, spread over the Ready pods behind a headless Service.
"""
