"""Forebay: autoscaling for LLM inference, ahead of the traffic and at the lowest cost that meets the SLO.

The packages are the steps of the control loop, in its order:

``telemetry`` observes, ``forecast`` looks ahead, ``sizing`` turns demand into a curve of misses against
capacity, ``planning`` buys the cheapest mix for the fleet, ``pipeline`` joins these pure steps and guards the
result, ``actuation`` acts, ``runtime`` runs the loop and reports. ``flow`` holds the values that pass between
the steps, ``api`` the Kubernetes resources, ``simulation`` the physics of a serving fleet, ``traces`` recorded
and generated traffic, ``replay`` the proof on recorded traffic, ``cli`` the commands.
"""

__version__ = "0.1.0"
