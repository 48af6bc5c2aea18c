"""`python -m chartdocs`: copy the CRDs into the chart, and write its README from the comments of values.yaml."""

import argparse
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "forebay"
_INTRODUCTION = """\
# Forebay's Helm chart

`docs/install.md` says how to use it. The table is generated from the comments of `values.yaml`.

| value | default | meaning |
| --- | --- | --- |
"""


def documented(values: str) -> dict[str, str]:
    """Return the meaning of each documented value, by its dotted path, in the order of the file."""
    path: list[str] = []
    meanings: dict[str, str] = {}
    meaning = ""
    for line in values.splitlines():
        if comment := re.match(r"\s*# -- (.*)", line):
            meaning = comment[1]
        elif key := re.match(r"( *)([A-Za-z]\w*):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if meaning:
                meanings[".".join(path)] = meaning
            meaning = ""
    return meanings


def readme(values: str) -> str:
    """Return the chart's README.

    Raises:
        KeyError: a comment stands at a key that is none.
    """
    rows = []
    for path, meaning in documented(values).items():
        default = yaml.safe_load(values)
        for key in path.split("."):
            default = default[key]
        shown = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("...\n").strip()
        rows.append(f"| `{path}` | `{shown}` | {meaning.replace('|', chr(92) + '|')} |\n")
    return _INTRODUCTION + "".join(rows)


def generated() -> dict[Path, str]:
    """Return every generated file of the chart with its text."""
    files = {CHART / "README.md": readme((CHART / "values.yaml").read_text())}
    for source in sorted((ROOT / "crds").glob("*.yaml")):
        files[CHART / "files" / "crds" / source.name] = source.read_text()
    return files


def main(arguments: list[str] | None = None) -> int:
    """Write the files; with ``--check`` write nothing, and return 1 if one differs or is left over."""
    parser = argparse.ArgumentParser(prog="python -m chartdocs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    options = parser.parse_args(arguments)
    files = generated()
    wrong = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    left_over = sorted(set((CHART / "files" / "crds").iterdir()) - set(files))
    if options.check:
        for path in (*wrong, *left_over):
            sys.stderr.write(f"{path.relative_to(ROOT)} differs from its source: run python -m chartdocs\n")
        return 1 if wrong or left_over else 0
    for path in wrong:
        path.write_text(files[path])
    for path in left_over:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
