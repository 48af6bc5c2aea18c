"""Recorded and generated traffic: loaders of public formats, and a seeded generator."""
