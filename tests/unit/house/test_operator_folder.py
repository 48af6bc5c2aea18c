"""The folder `operator/` must never shadow the standard library's module `operator`.

`operator/__init__.py` or an `operator.py` inside it would break `import collections` for everything that runs
with the repository root, or the folder, first on `sys.path`.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROBE = "import collections, operator; print(operator.__file__); import forebay; print(forebay.__file__)"


def _run(code: str, *, cwd: Path, path: str | None = None) -> list[str]:
    environment = {} if path is None else {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_folder_holds_no_module_that_shadows() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not list((ROOT / "operator").rglob("operator.py"))


@pytest.mark.parametrize("folder", [".", "operator", "operator/src"])
def test_the_standard_library_wins_from_any_folder(folder: str) -> None:
    """`python -c` puts the working directory first on sys.path: the worst case."""
    standard, package = _run(PROBE, cwd=ROOT / folder)
    assert Path(standard).name == "operator.py"
    assert ROOT not in Path(standard).parents
    assert Path(package).is_relative_to(ROOT / "operator" / "src" / "forebay")


def test_a_wheel_holds_the_package_and_nothing_called_operator(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert "forebay" in tops
    assert {top for top in tops if not top.startswith("forebay")} == set()
    standard, package = _run(PROBE, cwd=ROOT, path=str(wheel))
    assert ROOT not in Path(standard).parents
    assert Path(package).is_relative_to(wheel)
