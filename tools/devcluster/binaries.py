"""Where the binaries of a local cluster are, and how they get there: built once, cached, never half there.

The cache is `${XDG_CACHE_HOME:-~/.cache}/forebay`, one directory per target, named by what it was built from
(`Target.key`). A build goes into a directory of its own that is renamed when complete, under a lock that makes
a second builder wait for the first.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import golang
from devcluster.errors import DevClusterError
from devcluster.targets import ALL, CONTROL_PLANE, HELM, KIND, OPTIONAL, PROMTOOL, Target

Log = Callable[[str], object]
_BUILD_TIMEOUT_SECONDS = 3_600
_PLAIN_PROGRESS_SECONDS = 15.0
_TAIL_LINES = 20


def cache_directory() -> Path:
    """Return the cache's directory, `${XDG_CACHE_HOME:-~/.cache}/forebay`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "forebay"


@dataclass(frozen=True, slots=True)
class Binaries:
    """Finds the programs of a local cluster: in `KUBEBUILDER_ASSETS` where complete, else in the cache.

    Attributes:
        cache: the cache's directory.
        assets: the directory named by `KUBEBUILDER_ASSETS`, if any.
    """

    cache: Path
    assets: Path | None = None

    @classmethod
    def from_environment(cls) -> "Binaries":
        """Return the binaries as the environment names them."""
        named = os.environ.get("KUBEBUILDER_ASSETS")
        return cls(cache_directory(), Path(named) if named else None)

    def entry(self, target: Target) -> Path:
        """Return the cache directory of a target, built or not."""
        return self.cache / target.key()

    def is_built(self, target: Target) -> bool:
        """Whether a target is in the cache."""
        return (self.entry(target) / target.name).exists()

    def missing_assets(self) -> tuple[str, ...]:
        """Return the control-plane programs that `KUBEBUILDER_ASSETS` lacks (all, where it is not set)."""
        if self.assets is None:
            return CONTROL_PLANE.commands
        return tuple(name for name in CONTROL_PLANE.commands if not os.access(self.assets / name, os.X_OK))

    def missing(self) -> list[Target]:
        """Return the targets that have to be built before a local cluster can start."""
        return [
            target
            for target in ALL
            if not self.is_built(target) and not (target is CONTROL_PLANE and not self.missing_assets())
        ]

    def path(self, program: str) -> Path:
        """Return the path of a program by its name.

        Raises:
            DevClusterError: it is not built yet.
        """
        if program in CONTROL_PLANE.commands and not self.missing_assets() and self.assets is not None:
            return self.assets / program
        for target in (*ALL, *OPTIONAL):
            if program in (target.commands or (target.name,)) and self.is_built(target):
                return self.entry(target) / program
        if program == "kubectl" and (found := shutil.which(program)):
            return Path(found)
        raise DevClusterError(f"{program} is not built yet: run 'python -m devcluster build'")

    def build_missing(self, *, log: Log = print) -> dict[str, float]:
        """Build what is missing, and return the seconds that each target took.

        Raises:
            DevClusterError: Go is missing or a build failed; the message has its last lines.
        """
        return self.build(self.missing(), log=log)

    def build(self, wanted: Sequence[Target], *, log: Log = print) -> dict[str, float]:
        """Build these targets, and return the seconds that each took.

        Raises:
            DevClusterError: Go is missing or a build failed; the message has its last lines.
        """
        if not wanted:
            return {}
        minutes = sum(target.estimated_seconds for target in wanted) / 60
        log(
            f"devcluster: building {', '.join(f'{t.name} {t.version}' for t in wanted)} from Go modules, once: "
            f"about {minutes:.0f} min on two cores, plus downloads; cached in {self.cache}"
        )
        go = golang.find_go(self.cache, [target.directory for target in wanted], log=log)
        return {target.name: self._build(target, go, log) for target in wanted}

    def helm(self, *, log: Log = print) -> Path:
        """Return the path of Helm 3: the one on PATH, else ours, built first where it is not cached.

        Raises:
            DevClusterError: there is none and none could be built.
        """
        if (found := shutil.which("helm")) and _is_helm_3(found):
            return Path(found)
        if not self.is_built(HELM):
            self.build([HELM], log=log)
        return self.path("helm")

    def promtool(self, *, log: Log = print) -> Path:
        """Return the path of promtool: the one on PATH, else ours, built first where it is not cached.

        Raises:
            DevClusterError: there is none and none could be built.
        """
        return self._found_or_built(PROMTOOL, log)

    def kind(self, *, log: Log = print) -> Path:
        """Return the path of kind: the one on PATH, else ours, built first where it is not cached.

        Raises:
            DevClusterError: there is none and none could be built.
        """
        return self._found_or_built(KIND, log)

    def kubectl(self, *, log: Log = print) -> Path:
        """Return the path of kubectl: ours where it is cached, else the one on PATH, else ours, built now.

        Raises:
            DevClusterError: there is none and none could be built.
        """
        found = shutil.which("kubectl")
        if found is None and not self.is_built(CONTROL_PLANE) and self.missing_assets():
            self.build([CONTROL_PLANE], log=log)
        return self.path("kubectl")

    def _found_or_built(self, target: Target, log: Log) -> Path:
        if found := shutil.which(target.name):
            return Path(found)
        if not self.is_built(target):
            self.build([target], log=log)
        return self.path(target.name)

    def _build(self, target: Target, go: str, log: Log) -> float:
        with _locked(self.cache / f"{target.name}.lock", log):
            if self.is_built(target):
                return 0.0
            started = time.monotonic()
            prefix = f".build-{target.name}-"
            for abandoned in self.cache.glob(f"{prefix}*"):
                shutil.rmtree(abandoned)
            with tempfile.TemporaryDirectory(dir=self.cache, prefix=prefix) as temporary:
                directory = Path(temporary) / target.name
                directory.mkdir(mode=0o755)
                _go_build(target, go, directory / target.name, log)
                for command in target.commands:
                    (directory / command).symlink_to(target.name)
                directory.rename(self.entry(target))
            seconds = time.monotonic() - started
            size = (self.entry(target) / target.name).stat().st_size / 1e6
            log(f"devcluster: built {target.name} {target.version} in {seconds:.0f} s ({size:.0f} MB)")
            return seconds


def _is_helm_3(helm: str) -> bool:
    try:
        answer = subprocess.run(
            [helm, "version", "--short"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return answer.stdout.startswith("v3.")


@contextlib.contextmanager
def _locked(path: Path, log: Log) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"devcluster: another process is building {path.stem}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _go_build(target: Target, go: str, output: Path, log: Log) -> None:
    command = [go, "build", "-v", "-trimpath", "-buildvcs=false", "-tags", ",".join(target.tags)]
    command += ["-ldflags", target.linker_flags, "-o", str(output), target.package]
    log(f"devcluster: {target.name}: looking for its modules, downloading what is not here")
    packages = _package_count(target, go, log)
    if nice := shutil.which("nice"):
        command = [nice, "-n", "5", *command]
    with subprocess.Popen(
        command,
        cwd=target.directory,
        env=golang.go_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        watchdog = threading.Timer(_BUILD_TIMEOUT_SECONDS, process.kill)
        watchdog.start()
        try:
            lines = _follow(process, packages, Progress(target.name, log))
            code = process.wait()
        finally:
            watchdog.cancel()
            process.kill()  # where the wait was interrupted; nothing happens to one that ended
    if code != 0:
        raise DevClusterError(f"building {target.name} failed ({code}); the last it said:\n" + "\n".join(lines))


def _package_count(target: Target, go: str, log: Log) -> int:
    """Count the packages of a build, which also downloads its modules.

    Raises:
        DevClusterError: a module could not be had.
    """
    command = [go, "list", "-deps", "-tags", ",".join(target.tags), target.package]
    with (
        tempfile.TemporaryFile("w+") as packages,
        subprocess.Popen(
            command,
            cwd=target.directory,
            env=golang.go_environment(),
            stdin=subprocess.DEVNULL,
            stdout=packages,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        progress = Progress(target.name, log)
        downloads = 0
        tail: list[str] = []
        for line in process.stderr or ():
            if line.startswith("go: downloading "):
                downloads += 1
                progress.show(f"downloading module {downloads}: {line.split()[2]}")
            else:
                tail = [*tail, line.rstrip()][-_TAIL_LINES:]
        progress.end()
        if process.wait() != 0:
            raise DevClusterError(
                f"the Go modules of {target.name} could not be had (is a Go module proxy in reach?):\n"
                + "\n".join(tail)
            )
        packages.seek(0)
        return sum(1 for _ in packages)


def _follow(process: subprocess.Popen[str], packages: int, progress: "Progress") -> list[str]:
    tail: list[str] = []
    done = 0
    for line in process.stderr or ():
        text = line.rstrip()
        # "go: ..." and "# package" and "file.go:1:2: ..." are messages; a bare import path is a package done.
        if re.fullmatch(r"[\w./~-]+", text):
            done += 1
            progress.show(f"{done} of at most {packages} packages compiled")
        else:
            tail = [*tail, text][-_TAIL_LINES:]
    progress.end()
    return tail


class Progress:
    """A line that says how far a build is: rewritten in place on a terminal, now and then in a log.

    Args:
        name: what is built.
        log: where the lines go; `print` to a terminal rewrites one line.
        clock: seconds that only go forward.
    """

    def __init__(self, name: str, log: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._log = log
        self._clock = clock
        self._started = clock()
        self._last = self._started
        self._terminal = log is print and sys.stdout.isatty()

    def show(self, what: str) -> None:
        """Say how far the build is, unless that was said a moment ago."""
        now = self._clock()
        if now - self._last < (0.5 if self._terminal else _PLAIN_PROGRESS_SECONDS):
            return
        self._last = now
        line = f"devcluster: {self._name}: {what}, {now - self._started:.0f} s"
        if self._terminal:
            sys.stdout.write(f"\r\033[K{line}")
            sys.stdout.flush()
        else:
            self._log(line)

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._terminal:
            sys.stdout.write("\r\033[K")
            sys.stdout.flush()
