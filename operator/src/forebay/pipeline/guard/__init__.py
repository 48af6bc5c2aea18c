"""Guard: what stands between a plan and an order."""
