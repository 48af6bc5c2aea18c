"""`python -m dialectdocs`: write the dialect tables of docs/telemetry.md from the dialect files."""

import argparse
import sys
from pathlib import Path

from forebay.telemetry.query.dialect import Dialect, Signal, built_in

PAGE = Path(__file__).resolve().parents[1] / "docs" / "telemetry.md"
BEGIN = "<!-- dialects: generated from operator/src/forebay/dialects by `python -m dialectdocs` -->"
END = "<!-- dialects: end -->"

_ENGINE_SIGNALS = {
    "prompt tokens": {Signal.PROMPT_TOKENS},
    "output tokens": {Signal.OUTPUT_TOKENS},
    "prompt lengths": {Signal.PROMPT_LENGTH},
    "prefix cache": {Signal.CACHED_TOKENS},
    "KV-cache use": {Signal.KV_USAGE, Signal.KV_TOKENS},
    "prefill times": {Signal.PREFILL_TIME},
    "TTFT": {Signal.TTFT},
    "ITL": {Signal.REQUEST_ITL, Signal.TOKEN_ITL},
}
"""What Forebay reads of an engine beside its requests: any one of the signals is enough."""


def tables() -> str:
    """Return both tables."""
    known = sorted(built_in().values(), key=lambda dialect: dialect.title.lower())
    engines = [_row(d, _missing(d)) for d in known if d.kind == "engine"]
    gateways = [_row(d, " or ".join(map(_label, d.select_by))) for d in known if d.kind == "gateway"]
    return "\n".join(
        (
            "| engine | dialect | has no metrics of | remarks |\n| --- | --- | --- | --- |",
            *engines,
            "",
            "| gateway | dialect | select the pool's series by | remarks |\n| --- | --- | --- | --- |",
            *gateways,
        )
    )


def _row(dialect: Dialect, column: str) -> str:
    notes = " ".join(dialect.notes.split()).replace("|", "\\|")
    return f"| {dialect.title} | `{dialect.name}` | {column} | {notes} |"


def _missing(dialect: Dialect) -> str:
    return ", ".join(name for name, any_of in _ENGINE_SIGNALS.items() if not any_of & set(dialect.signals))


def _label(label: str) -> str:
    return label if " " in label else f"`{label}`"


def page() -> str:
    """Return the page with its tables as they should be."""
    before, rest = PAGE.read_text().split(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}"


def main(arguments: list[str] | None = None) -> int:
    """Write the tables; with ``--check`` write nothing, and return 1 if they differ."""
    parser = argparse.ArgumentParser(prog="python -m dialectdocs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page differs")
    options = parser.parse_args(arguments)
    text = page()
    if PAGE.read_text() == text:
        return 0
    if options.check:
        sys.stderr.write("docs/telemetry.md differs from the dialect files: run python -m dialectdocs\n")
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
