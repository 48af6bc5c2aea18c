"""Recorded and generated traffic: loaders of public formats, and a seeded generator."""

from forebay.offline.traces.catalogue import TraceFormat, trace_formats
from forebay.offline.traces.generate import generate
from forebay.offline.traces.length_model import LengthModel
from forebay.offline.traces.load import load_trace
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.presets import PRESETS
from forebay.offline.traces.spec import FlashCrowds, OnOff, TrafficSpec
from forebay.offline.traces.time_unit import TimeUnit
from forebay.offline.traces.trace_error import TraceError
from forebay.offline.traces.transform import at_rate, compress_time, superpose, window
from forebay.offline.traces.write import write_plain

__all__ = [
    "PRESETS",
    "FlashCrowds",
    "LengthModel",
    "LoadOptions",
    "OnOff",
    "TimeUnit",
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
