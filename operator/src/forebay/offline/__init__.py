"""Works without a cluster and is not in the operator's image: traces, the simulated fleet, the replay."""
