"""docs/getting-started.md as a program: its commands in their order, and what it shows of their output."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "getting-started.md"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Step:
    """One block of commands.

    Attributes:
        commands: what a reader types, a line each.
        shown: the output that the page shows below, "" where it shows none.
    """

    commands: str
    shown: str


def steps(text: str) -> list[Step]:
    """Return the page's steps: each block `sh`, with the block `text` that follows it directly.

    Raises:
        ValueError: a block is of another kind, or shows the output of nothing.
    """
    found: list[Step] = []
    end_of_commands = -1
    for match in _FENCE.finditer(text):
        language, body = match[1], match[2]
        if language == "sh":
            found.append(Step(commands=body, shown=""))
            end_of_commands = match.end()
        elif language == "text" and text[end_of_commands : match.start()].strip() == "" and end_of_commands >= 0:
            found[-1] = Step(commands=found[-1].commands, shown=body)
            end_of_commands = -1
        else:
            raise ValueError(f"a block `{language}` that is neither commands nor their output: {body[:60]!r}")
    return found


def script(found: Sequence[Step], mark: str) -> str:
    """Return a shell script that runs the steps in one shell, with a marked line before the output of each."""
    blocks = [f"echo '{mark} {number}'\n{step.commands}" for number, step in enumerate(found)]
    return "set -euo pipefail\nexec 2>&1\n" + "".join(blocks) + f"echo '{mark} end'\n"


def missing(shown: str, printed: str) -> list[str]:
    """Return the lines that a page shows and a command did not print, in their order; more may be printed.

    What has a digit may be anything of the kind: counts, ages, ends of pods' names. `...` stands for any words, or
    none.
    """
    lines = iter(printed.splitlines())
    wanted = [line for line in shown.splitlines() if line.strip()]
    return [line for line in wanted if not any(re.fullmatch(_pattern(line), f" {item}") for item in lines)]


def _pattern(shown: str) -> str:
    words = [r"(\s.*)?" if word == "..." else r"\s+" + _word(word) for word in shown.split()]
    return "".join(words) + r"\s*"


def _word(word: str) -> str:
    """Return a pattern for a word, in which a number, or a part of a name with a digit, may be another."""
    parts = re.split(r"(\w*\d[\w.]*)", word)
    return "".join(r"[\w.+-]+" if number % 2 else re.escape(part) for number, part in enumerate(parts))
