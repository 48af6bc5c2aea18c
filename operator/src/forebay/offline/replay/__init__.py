"""Replay: the real decision code over recorded traffic, beside what people use today."""
