"""From files, presets or Prometheus to a scenario."""
