"""Write the CRDs and the API reference, or check that the files say what the models say."""

import argparse
import sys
from pathlib import Path

from forebay.api.crd.definition import documents, kustomization
from forebay.api.crd.reference import reference


def main(arguments: list[str] | None = None) -> int:
    """Generate the files; with ``--check`` write nothing, and return 1 if a file differs or is left over."""
    parser = argparse.ArgumentParser(prog="python -m forebay.api.crd", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the CRDs")
    parser.add_argument("--docs", type=Path, required=True, help="file of the API reference")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    options = parser.parse_args(arguments)
    wanted = {options.out / name: text for name, text in documents().items()}
    wanted[options.out / "Kustomization"] = kustomization()
    wanted[options.docs] = reference()
    differing = sorted(path for path, text in wanted.items() if not path.exists() or path.read_text() != text)
    left_over = sorted(set(options.out.glob("*.yaml")) - set(wanted))
    if options.check:
        for path in (*differing, *left_over):
            sys.stderr.write(f"{path} differs from the models: run make crds and commit it\n")
        return 1 if differing or left_over else 0
    options.out.mkdir(parents=True, exist_ok=True)
    for path in differing:
        path.write_text(wanted[path])
    for path in left_over:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
