"""The parts of `bench_operator`: a large fleet, a Prometheus that answers for it, and how a process is watched."""
