"""Decide: forecast, size, plan and guard joined into one pure step, the same live and in a replay."""
