"""One look at the cluster: who takes part in a round, and what is there, from what the watches keep."""
