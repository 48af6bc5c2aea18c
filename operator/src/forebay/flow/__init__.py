"""The values that flow through the control loop: observe -> forecast -> size -> plan -> act -> report.

Frozen dataclasses without behaviour beyond small derived properties. Everything here is measured in SI base
units (seconds, tokens, requests), US dollars and watts; times are Unix seconds. ``None`` means "not measured"
and is never the same as zero.
"""
