"""The one exception that reading a trace raises."""

from pathlib import Path


class TraceError(ValueError):
    """A trace that cannot be used: one sentence that says where and what to change."""

    def __init__(self, message: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        """Prefix ``message`` with the file and, where one is to blame, the line (counted from 1)."""
        place = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(place + message)
        self.path = None if path is None else Path(path)
        self.line = line
