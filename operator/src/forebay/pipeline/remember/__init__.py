"""Remember: what decisions depend on beside this round's observation, and how it survives a restart."""
