"""`python -m imagecheck`: build the operator's image twice from the same inputs, compare them, and say their size.

    python -m imagecheck                  build twice, the second time without any cache
    python -m imagecheck IMAGE OTHER      compare two images that Docker has

Two builds of the same inputs have the same layers and the same configuration; only the time of creation differs,
and with BuildKit 0.11 or newer, which takes SOURCE_DATE_EPOCH, not even that. tools/build-image says what a build
needs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
_BUILD_SECONDS = 900
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or link of a layer.

    Attributes:
        content: all that it is but its time: type, mode, owner, where it links to, and the digest of its bytes.
        seconds: its time.
    """

    content: tuple[object, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image.

    Attributes:
        digest: of its uncompressed archive, times included.
        size_bytes: of that archive.
        compressed_bytes: what a registry stores and a node pulls (gzip).
        entries: what it holds, by path.
    """

    digest: str
    size_bytes: int
    compressed_bytes: int
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is.

    Attributes:
        configuration: command, user, environment, labels, without times.
        layers: from the base upwards.
    """

    configuration: Mapping[str, Any]
    layers: tuple[Layer, ...]

    @property
    def size_bytes(self) -> int:
        """Size on a node."""
        return sum(layer.size_bytes for layer in self.layers)

    @property
    def compressed_bytes(self) -> int:
        """Size in a registry."""
        return sum(layer.compressed_bytes for layer in self.layers)


def read(name: str, docker: str = "docker") -> Image:
    """Read an image out of Docker.

    Raises:
        subprocess.CalledProcessError: Docker has no such image.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        subprocess.run([docker, "save", "-o", str(archive), name], check=True, timeout=300)
        with tarfile.open(archive) as files:
            (manifest,) = json.load(_member(files, "manifest.json"))
            configuration: dict[str, Any] = json.load(_member(files, manifest["Config"]))["config"]
            layers = tuple(_layer(_member(files, path)) for path in manifest["Layers"])
    return Image(configuration=configuration, layers=layers)


def differences(one: Image, other: Image) -> Iterator[str]:
    """Yield what is not the same in two images, most important first; nothing where all digests agree."""
    for key in sorted(one.configuration.keys() | other.configuration.keys()):
        if one.configuration.get(key) != other.configuration.get(key):
            yield f"{key}: {one.configuration.get(key)} and {other.configuration.get(key)}"
    if len(one.layers) != len(other.layers):
        yield f"{len(one.layers)} and {len(other.layers)} layers"
    for number, (first, second) in enumerate(zip(one.layers, other.layers, strict=False)):
        if first.digest != second.digest:
            yield from (f"layer {number}: {said}" for said in _in_layers(first, second))


def _in_layers(first: Layer, second: Layer) -> Iterator[str]:
    times = 0
    for path in sorted(first.entries.keys() | second.entries.keys()):
        one, other = first.entries.get(path), second.entries.get(path)
        if one is None or other is None:
            yield f"{path} is in one of them only"
        elif one.content != other.content:
            yield f"{path} differs"
        elif one.seconds != other.seconds:
            times += 1
    yield f"{times} entries differ in their times, and the digests {first.digest[:12]} and {second.digest[:12]}"


def _member(files: tarfile.TarFile, path: str) -> IO[bytes]:
    stream = files.extractfile(path)
    if stream is None:
        raise ValueError(f"{path} in the archive of the image is no file")
    return stream


def _layer(stream: IO[bytes]) -> Layer:
    """Read a layer, compressed (as newer Dockers save it) or not."""
    with tempfile.TemporaryFile() as plain:
        if stream.read(2) == b"\x1f\x8b":
            stream.seek(0)
            inflate = zlib.decompressobj(wbits=31)
            while chunk := stream.read(_CHUNK_BYTES):
                plain.write(inflate.decompress(chunk))
        else:
            stream.seek(0)
            while chunk := stream.read(_CHUNK_BYTES):
                plain.write(chunk)
        plain.seek(0)
        digest, deflate, size, compressed = hashlib.sha256(), zlib.compressobj(wbits=31), 0, 0
        while chunk := plain.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            compressed += len(deflate.compress(chunk))
        plain.seek(0)
        return Layer(digest.hexdigest(), size, compressed + len(deflate.flush()), _entries(plain))


def _entries(plain: IO[bytes]) -> dict[str, Entry]:
    entries = {}
    with tarfile.open(fileobj=plain) as files:
        for item in files:
            stream = files.extractfile(item) if item.isreg() else None
            data = hashlib.file_digest(stream, "sha256").hexdigest() if stream else ""  # type: ignore[arg-type]
            content = (item.type, item.mode, item.uid, item.gid, item.linkname, data)
            entries[item.name] = Entry(content=content, seconds=item.mtime)
    return entries


def build(tag: str, *flags: str) -> str:
    """Build the operator's image and return its name.

    Raises:
        subprocess.CalledProcessError: the build failed; standard error has its output.
    """
    given = os.environ.get("DOCKER_BUILD_FLAGS", "")
    environment = os.environ | {"IMAGE_TAG": tag, "DOCKER_BUILD_FLAGS": " ".join([given, *flags]).strip()}
    command = [str(ROOT / "tools" / "build-image"), "operator"]
    subprocess.run(command, env=environment, stdout=sys.stderr, check=True, timeout=_BUILD_SECONDS)
    return f"forebay:{tag}"


def report(images: Mapping[str, Image]) -> str:
    """Return the sizes of images, a line each."""
    return "".join(
        f"{name}: {image.size_bytes / 1e6:.0f} MB, compressed {image.compressed_bytes / 1e6:.0f} MB, "
        f"of which {image.layers[-1].compressed_bytes / 1e6:.0f} MB are its own\n"
        for name, image in images.items()
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two images, built here unless they are named; return 1 where they differ."""
    parser = argparse.ArgumentParser(
        prog="python -m imagecheck", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", nargs="*", help="two images to compare instead of building them")
    named = parser.parse_args(arguments).image
    if len(named) not in {0, 2}:
        parser.error("name two images, or none to build them")
    names = named or [build("check-1"), build("check-2", "--no-cache")]
    docker = os.environ.get("DOCKER", "docker")
    images = {name: read(name, docker) for name in names}
    sys.stdout.write(report(images))
    found = list(differences(*images.values()))
    sys.stdout.write("".join(f"{line}\n" for line in found) or "the layers and the configuration are the same\n")
    if not named:
        subprocess.run([docker, "image", "rm", *names], stdout=subprocess.DEVNULL, check=True, timeout=60)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
