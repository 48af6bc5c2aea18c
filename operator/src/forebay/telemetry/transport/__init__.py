"""Ask the Prometheus HTTP API: bounded in time, threads and memory, and read its answers strictly."""
