"""The comparison of images tells what differs from when it was made, and reads what old and new Dockers save."""

import gzip
import io
import json
import stat
import tarfile
from pathlib import Path

import pytest

import imagecheck

COMMAND = {"Entrypoint": ["/opt/forebay/bin/python"], "User": "65532:65532"}


def archive(files: dict[str, bytes], *, seconds: int = 0, mode: int = 0o644) -> bytes:
    """Return a tar archive of files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, data in files.items():
            item = tarfile.TarInfo(name)
            item.size, item.mtime, item.mode = len(data), seconds, mode
            made.addfile(item, io.BytesIO(data))
    return stream.getvalue()


class Docker:
    """A `docker` that can save the images it is given."""

    def __init__(self, folder: Path) -> None:
        self.program = str(folder / "docker")
        self._folder = folder
        Path(self.program).write_text(f'#!/bin/sh\nexec cp "{folder}/$4.tar" "$3"\n')
        Path(self.program).chmod(stat.S_IRWXU)

    def image(self, name: str, *layers: bytes, configuration: object = None) -> imagecheck.Image:
        paths = [f"blobs/{number}" for number in range(len(layers))]
        manifest = [{"Config": "config.json", "Layers": paths}]
        saved = {"manifest.json": manifest, "config.json": {"config": configuration or COMMAND, "created": name}}
        files = {path: json.dumps(content).encode() for path, content in saved.items()}
        (self._folder / f"{name}.tar").write_bytes(archive(files | dict(zip(paths, layers, strict=True))))
        return imagecheck.read(name, self.program)


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


BASE = archive({"bin/sh": b"shell"})
OWN = archive({"opt/a": b"a" * 5000, "opt/b": b"b"})


def test_the_same_layers_are_the_same_however_docker_saves_them(docker: Docker) -> None:
    plain = docker.image("plain", BASE, OWN)
    compressed = docker.image("compressed", gzip.compress(BASE), gzip.compress(OWN, 1))
    assert list(imagecheck.differences(plain, compressed)) == []
    assert plain.size_bytes == len(BASE) + len(OWN)
    assert 100 < plain.compressed_bytes == compressed.compressed_bytes < 1000


def test_another_time_is_told_apart_from_another_file(docker: Docker) -> None:
    first = docker.image("first", BASE, OWN)
    later = docker.image("later", BASE, archive({"opt/a": b"a" * 5000, "opt/b": b"b"}, seconds=9))
    (said,) = imagecheck.differences(first, later)
    assert said.startswith("layer 1: 2 entries differ in their times, and the digests ")


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (archive({"opt/a": b"a" * 5000, "opt/b": b"c"}), "layer 1: opt/b differs"),
        (archive({"opt/a": b"a" * 5000, "opt/b": b"b"}, mode=0o755), "layer 1: opt/a differs"),
        (archive({"opt/a": b"a" * 5000}), "layer 1: opt/b is in one of them only"),
    ],
)
def test_another_file_is_named(docker: Docker, layer: bytes, said: str) -> None:
    found = imagecheck.differences(docker.image("first", BASE, OWN), docker.image("other", BASE, layer))
    assert next(found) == said


def test_another_configuration_and_another_number_of_layers_are_named(docker: Docker) -> None:
    first = docker.image("first", BASE, OWN)
    other = docker.image("other", BASE, configuration=COMMAND | {"User": "0"})
    assert list(imagecheck.differences(first, other)) == ["User: 65532:65532 and 0", "2 and 1 layers"]


def test_sizes_are_told(docker: Docker) -> None:
    layer = archive({"opt/a": bytes(3_000_000)})
    assert imagecheck.report({"forebay:a": docker.image("a", BASE, layer)}) == (
        "forebay:a: 3 MB, compressed 0 MB, of which 0 MB are its own\n"
    )
