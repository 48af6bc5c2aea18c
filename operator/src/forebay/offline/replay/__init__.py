"""Replay: the real decision code over recorded traffic, next to what people use today."""
