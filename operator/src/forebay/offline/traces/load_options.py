"""How to read a trace: window, rate, seed and what to assume where the file is silent."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from forebay.offline.traces.length_model import LengthModel
from forebay.offline.traces.time_unit import TimeUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """Options of `forebay.offline.traces.load_trace`; the defaults give the file as it is."""

    format: str | None = None
    """Name of the format; ``None``: recognised by content."""
    seed: int = 0
    """Of everything that is drawn: arrivals inside bins, copies, lengths."""
    time_unit: TimeUnit | None = None
    """Of the time stamps of JSONL files; ``None``: as they show."""
    block_tokens: int | None = None
    """Prompt tokens per block of ``hash_ids``; ``None``: as the prompts show."""
    sort: bool = False
    """Sort an unsorted request list instead of refusing it."""
    start_seconds: float = 0.0
    """Begin here, counted from the start of the file; what precedes becomes the trace's history."""
    end_seconds: float | None = None
    requests_per_second: float | None = None
    """Scale to this mean rate of the *whole file* (window and history keep their shape); ``None``: as recorded."""
    history_seconds: float = 172_800.0
    """Length of the minute counts kept from before ``start_seconds``."""
    max_requests: int = 30_000_000
    """Refuse to make more requests than this: they would not fit into memory."""
    lengths: LengthModel = field(default_factory=LengthModel)
    """Lengths for files that give only mean tokens per bin."""
    now: datetime | None = None
    """What counts as the future; ``None``: the clock."""

    @property
    def now_seconds(self) -> float:
        """Return ``now`` as Unix seconds."""
        return (self.now or datetime.now(UTC)).timestamp()
