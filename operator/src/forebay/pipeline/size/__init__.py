"""Size: from what was observed and remembered of a pool to what each of its roles needs."""
