"""Size: from demand to expected misses as a function of capacity, per role."""
