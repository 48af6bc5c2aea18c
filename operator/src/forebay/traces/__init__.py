"""Recorded and generated traffic: loaders of public formats, and a seeded generator."""

from forebay.traces.catalogue import TraceFormat, trace_formats
from forebay.traces.errors import TraceError
from forebay.traces.generate import generate
from forebay.traces.lengths import LengthModel
from forebay.traces.load import load_trace
from forebay.traces.options import LoadOptions
from forebay.traces.presets import PRESETS
from forebay.traces.spec import FlashCrowds, OnOff, TrafficSpec
from forebay.traces.transform import at_rate, compress_time, superpose, window
from forebay.traces.write import write_plain

__all__ = [
    "PRESETS",
    "FlashCrowds",
    "LengthModel",
    "LoadOptions",
    "OnOff",
    "TraceError",
    "TraceFormat",
    "TrafficSpec",
    "at_rate",
    "compress_time",
    "generate",
    "load_trace",
    "superpose",
    "trace_formats",
    "window",
    "write_plain",
]
