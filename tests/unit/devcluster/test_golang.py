"""A Go toolchain that is new enough is found, or installed and said so."""

from pathlib import Path

import pytest

from devcluster import golang
from devcluster.errors import DevClusterError
from devcluster.golang import Version


def _fake_go(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho go version go{version} linux/amd64\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def module(tmp_path: Path) -> Path:
    directory = tmp_path / "module"
    directory.mkdir()
    (directory / "go.mod").write_text("module m\n\ngo 1.26.0\n")
    return directory


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.27rc1 linux/amd64", (1, 27, 0)),
        ("go 1.26.0", (1, 26, 0)),
        ("go 1.26", (1, 26, 0)),
        ("gopher", None),
    ],
)
def test_versions_are_read(text: str, version: Version | None) -> None:
    assert golang.parse_version(text) == version


def test_the_neediest_module_decides(module: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "go.mod").write_text("module o\n\ngo 1.27.1\n")
    assert golang.needed_version([module, other]) == (1, 27, 1)


def test_a_module_without_a_go_line_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module m\n")
    with pytest.raises(ValueError, match="has no line 'go VERSION'"):
        golang.needed_version([tmp_path])


def test_a_go_on_path_that_is_new_enough_is_used(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = _fake_go(tmp_path / "bin" / "go", "1.26.0")
    monkeypatch.setenv("PATH", str(go.parent))
    assert golang.find_go(tmp_path / "cache", [module]) == str(go)


@pytest.mark.parametrize("on_path", ["1.25.9", None])
def test_an_old_or_missing_go_is_replaced_by_one_in_the_cache_and_said_so(
    on_path: str | None, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_path:
        _fake_go(tmp_path / "bin" / "go", on_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    monkeypatch.setattr(golang, "_install", lambda directory: _fake_go(directory / "go" / "bin" / "go", "1.27.3"))
    said: list[str] = []
    found = golang.find_go(tmp_path / "cache", [module], log=said.append)
    assert Path(found).is_relative_to(tmp_path / "cache")
    assert (on_path or "there is no Go") in said[0]
    assert "1.26.0 is needed" in said[0]


def test_a_toolchain_that_does_not_run_is_an_error(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(golang, "_install", lambda directory: directory.mkdir(parents=True))
    with pytest.raises(DevClusterError, match=r"install Go 1\.26\.0 or newer"):
        golang.find_go(tmp_path / "cache", [module], log=lambda _: None)
