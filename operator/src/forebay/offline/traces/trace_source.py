"""A trace file as lines of text, gzip or not (told by content, not by name), with every failure a `TraceError`."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from forebay.offline.traces.trace_error import TraceError

GZIP_MAGIC = b"\x1f\x8b"
SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class TraceSource:
    """One file on disk. Lines are counted from 1, the first line being the header where a format has one."""

    path: Path

    @contextmanager
    def text(self) -> Iterator[io.TextIOBase]:
        """Open the file as UTF-8 text.

        Raises:
            TraceError: if it cannot be opened, is damaged, or is not text.
        """
        try:
            with self.path.open("rb") as raw:
                packed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
                raw.seek(0)
                stream = gzip.GzipFile(fileobj=raw) if packed else raw
                yield io.TextIOWrapper(stream, encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise TraceError("is not UTF-8 text; give a CSV or JSONL file", path=self.path) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TraceError("is a damaged gzip file; copy it again", path=self.path) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise TraceError(f"cannot be read: {reason}", path=self.path) from error

    def numbered_lines(self) -> Iterator[tuple[int, str]]:
        """Yield every line that is not blank, with its number, without its end."""
        with self.text() as stream:
            for number, line in enumerate(stream, start=1):
                stripped = line.strip()
                if stripped:
                    yield number, stripped

    def first_line(self) -> tuple[int, str]:
        """Return number and text of the first line that is not blank.

        Raises:
            TraceError: if there is none.
        """
        for number, line in self.numbered_lines():
            return number, line
        raise TraceError("is empty; a trace needs at least one request", path=self.path)

    def line_of_row(self, row: int, *, header: bool) -> int:
        """Return the line number of data row ``row`` (from 0)."""
        return next(islice(self.numbered_lines(), row + int(header), None))[0]

    def error(self, message: str, *, line: int | None = None) -> TraceError:
        """Return an error about this file."""
        return TraceError(message, path=self.path, line=line)


def shown(text: str) -> str:
    """Return ``text`` quoted for a message: printable and short."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "...")
