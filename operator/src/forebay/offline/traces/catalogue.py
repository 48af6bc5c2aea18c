"""The known formats, found in `forebay.offline.traces.formats`."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from forebay.flow.trace import RequestTrace
from forebay.offline.traces import formats
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.trace_source import TraceSource


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFormat:
    """One format of trace files."""

    name: str
    columns: str
    """What the first line looks like, for people."""
    origin: str
    """Where such files come from, with the public source."""
    matches_line: Callable[[str], bool]
    """Tell the format by the first line of a file."""
    load: Callable[[TraceSource, LoadOptions], RequestTrace]
    """Read a file; raises `TraceError` and nothing else."""
    matches_folder: Callable[[Path], bool] = lambda _: False
    """Tell the format by a folder, for formats of many files."""
    has_unit: bool = False
    """True if files of this format come with several units of time and sizes of blocks, which options may say."""
    windowed: bool = False
    """True if ``load`` applies the options' window and rate itself (because it draws the requests)."""


@cache
def trace_formats() -> dict[str, TraceFormat]:
    """Return all formats by name."""
    found = {}
    for module in pkgutil.iter_modules(formats.__path__):
        trace_format = import_module(f"{formats.__name__}.{module.name}").FORMAT
        found[trace_format.name] = trace_format
    return found
