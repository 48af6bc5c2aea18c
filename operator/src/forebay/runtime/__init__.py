"""Run: the control loop, leader election and metrics, over what is watched, what is there and what is told."""
