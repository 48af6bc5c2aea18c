"""The cache's key follows the pins and all else that a binary is built from."""

import shutil
from pathlib import Path

import pytest

from devcluster import targets
from devcluster.targets import ALL, CONTROL_PLANE, KWOK, PROMETHEUS, prometheus_release, required_version


def test_versions_come_from_the_go_modules() -> None:
    assert CONTROL_PLANE.version.startswith("v1.")
    assert f"gitVersion={CONTROL_PLANE.version}" in CONTROL_PLANE.linker_flags
    assert "{" not in "".join(target.linker_flags for target in ALL)


def test_the_staging_modules_follow_kubernetes() -> None:
    go_mod = (CONTROL_PLANE.directory / "go.mod").read_text()
    minor_and_patch = CONTROL_PLANE.version.removeprefix("v1")
    replaced = [line for line in go_mod.splitlines() if "=>" in line]
    assert len(replaced) > 30
    assert all(line.endswith(f" v0{minor_and_patch}") for line in replaced)


def test_prometheus_modules_are_numbered_unlike_its_releases() -> None:
    assert prometheus_release("v0.313.1") == "v3.13.1"
    assert prometheus_release("v0.308.0") == "v3.8.0"
    assert PROMETHEUS.version.startswith("v3.")


@pytest.mark.parametrize("line", ["require example.org/a v1.2.3", "\texample.org/a v1.2.3 // indirect"])
def test_a_required_version_is_found_in_either_form(line: str) -> None:
    assert required_version(f"module m\n{line}\n", "example.org/a") == "v1.2.3"


def test_a_module_that_is_not_required_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"does not require example\.org/b"):
        required_version("require example.org/a v1.2.3", "example.org/b")


def test_the_key_follows_what_the_binary_is_built_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(targets.GO_DIRECTORY, tmp_path / "go")
    before = KWOK.key()
    monkeypatch.setattr(targets, "GO_DIRECTORY", tmp_path / "go")
    assert KWOK.key() == before
    (tmp_path / "go" / "kwok" / "README").write_text("of no consequence")
    assert KWOK.key() == before
    with (tmp_path / "go" / "kwok" / "go.sum").open("a") as sums:
        sums.write("example.org/a v1.2.3 h1:0=\n")
    assert KWOK.key() != before


def test_keys_differ_and_start_with_a_readable_version() -> None:
    keys = [target.key() for target in ALL]
    assert len(set(keys)) == len(keys)
    for target, key in zip(ALL, keys, strict=True):
        assert key.startswith(f"{target.name}-{target.version}-")
