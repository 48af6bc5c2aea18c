"""Policies as jobs: run, spread over processes, with progress."""
