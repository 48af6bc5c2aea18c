"""Act: the only place that changes anything in the cluster, through `/scale` and capacity providers."""
