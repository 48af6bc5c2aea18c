"""The closed loop of one policy over one scenario, and its score."""
