"""Decode a large answer series by series, so that no more than one of them exists as Python objects at a time.

An answer about thousands of workloads is megabytes of text, and ten times as much as dictionaries and lists; with
several queries at once that decides how much memory the process needs.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_WHITESPACE = re.compile(r"[ \t\n\r]*")
_RESULT = re.compile(r'"result"[ \t\n\r]*:[ \t\n\r]*\[')
_scan = json.JSONDecoder().raw_decode
_SMALL_BYTES = 64 * 1024


class SeriesOf:
    """The series of an answer, decoded while they are gone through.

    Iterating raises ``ValueError`` where the text turns out not to be JSON, also behind the last series.
    """

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._start = start
        """Of the first series, or of the closing bracket."""

    def __iter__(self) -> Iterator[Any]:
        text, skip = self._text, _WHITESPACE.match
        position = _after(skip, text, self._start)
        if text[position : position + 1] != "]":
            while True:
                item, position = _scan(text, position)
                yield item
                if text.startswith(",{", position):  # as Prometheus writes it, without white space
                    position += 1
                    continue
                position = _after(skip, text, position)
                mark = text[position : position + 1]
                if mark == "]":
                    break
                if mark != ",":
                    raise ValueError(f"an answer's list is cut off or malformed at character {position}")
                position = _after(skip, text, position + 1)
        json.loads(f"{text[: self._start]}{text[position:]}")


def _after(skip: Any, text: str, position: int) -> int:
    return position if text[position : position + 1] > " " else int(skip(text, position).end())


def decoded(body: bytes) -> Any:
    """Return the JSON of an answer of Prometheus' query API; of a large one only ``data.result``, as ``SeriesOf``.

    Raises:
        ValueError: it is no JSON.
    """
    text = body.decode()
    found = _RESULT.search(text) if len(body) > _SMALL_BYTES else None
    if found is None:
        return json.loads(text)
    return {"data": {"result": SeriesOf(text, found.end())}}
