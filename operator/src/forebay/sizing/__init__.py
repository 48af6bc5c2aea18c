"""Size roles: compute the expected misses of each role's demand as a function of its capacity."""
