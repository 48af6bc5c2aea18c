"""Turn readings into signals: arrivals, what the engines did, misses of the objectives."""
