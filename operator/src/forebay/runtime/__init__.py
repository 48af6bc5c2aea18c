"""Run: kopf as informer, the control loop, leader election, status, events and metrics."""
