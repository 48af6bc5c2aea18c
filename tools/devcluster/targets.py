"""What is built for a local cluster: pinned Go modules, and the key under which each is cached.

The pins live in `go/*/go.mod` and nowhere else: versions shown and linked in are read from there.
"""

import hashlib
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GO_DIRECTORY = Path(__file__).resolve().parent / "go"
#: Raise it when the way of building changes in a manner that the files hashed below do not show.
RECIPE = "1"


@dataclass(frozen=True, slots=True)
class Target:
    """One Go module and the binary that comes out of it.

    Attributes:
        name: the module's directory below `go/`, and the binary's name.
        package: what `go build` is given.
        pinned_module: the required module whose version is the binary's.
        ldflags: for the linker; `{version}` is the release, `{major}` and `{minor}` its parts.
        commands: names by which the binary is called (symbolic links beside it); it dispatches on them.
        tags: Go build tags.
        release: from the module's version to the release's name, where they differ.
        estimated_seconds: wall time of a first build on two cores, downloads aside.
    """

    name: str
    package: str
    pinned_module: str
    ldflags: str
    estimated_seconds: int
    commands: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    release: Callable[[str], str] = str

    @property
    def directory(self) -> Path:
        """The directory of the Go module."""
        return GO_DIRECTORY / self.name

    @property
    def version(self) -> str:
        """The release that is pinned, with its leading `v`.

        Raises:
            ValueError: the module's go.mod does not require `pinned_module`.
        """
        pin = required_version((self.directory / "go.mod").read_text(), self.pinned_module)
        return self.release(pin)

    @property
    def linker_flags(self) -> str:
        """`ldflags` with the version in it."""
        major, minor, patch = self.version.removeprefix("v").split(".")
        return "-s -w " + self.ldflags.format(version=self.version, major=major, minor=minor, patch=patch)

    def key(self) -> str:
        """Return the name of the cache entry: readable version, then a hash of all that shapes the binary."""
        digest = hashlib.sha256()
        parts = [RECIPE, platform.system(), platform.machine(), self.package, self.linker_flags, *self.tags]
        parts += self.commands
        digest.update("\0".join(parts).encode())
        for path in sorted(self.directory.iterdir()):
            if path.name in {"go.mod", "go.sum"} or path.suffix == ".go":
                digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"


def required_version(go_mod: str, module: str) -> str:
    """Return the version of `module` that the text of a go.mod requires.

    Raises:
        ValueError: it requires no such module.
    """
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+(v\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise ValueError(f"go.mod does not require {module}: add it, or correct the name in targets.py")
    return match.group(1)


def prometheus_release(module_version: str) -> str:
    """Return the release of Prometheus that a module version is: v0.313.1 of the module is v3.13.1."""
    _, number, patch = module_version.removeprefix("v").split(".")
    return f"v{int(number) // 100}.{int(number) % 100}.{patch}"


_VERSION = "k8s.io/component-base/version"

CONTROL_PLANE = Target(
    name="controlplane",
    package=".",
    pinned_module="k8s.io/kubernetes",
    # Without these the server calls itself v0.0.0-master, and clients' version checks go astray.
    ldflags=(
        f"-X {_VERSION}.gitVersion={{version}} -X {_VERSION}.gitMajor={{major}} -X {_VERSION}.gitMinor={{minor}}"
    ),
    commands=("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
    estimated_seconds=300,
)
KWOK = Target(
    name="kwok",
    package="sigs.k8s.io/kwok/cmd/kwok",
    pinned_module="sigs.k8s.io/kwok",
    ldflags="-X sigs.k8s.io/kwok/pkg/consts.Version={version}",
    estimated_seconds=60,
)
PROMETHEUS = Target(
    name="prometheus",
    package="github.com/prometheus/prometheus/cmd/prometheus",
    pinned_module="github.com/prometheus/prometheus",
    ldflags="-X github.com/prometheus/common/version.Version={major}.{minor}.{patch}",
    release=prometheus_release,
    # No cloud's service discovery: half the build. Static, file and HTTP discovery are always in.
    tags=("remove_all_sd", "enable_kubernetes_sd"),
    estimated_seconds=120,
)
PROMTOOL = Target(
    name="promtool",
    package="github.com/prometheus/prometheus/cmd/promtool",
    pinned_module=PROMETHEUS.pinned_module,
    ldflags=PROMETHEUS.ldflags,
    release=prometheus_release,
    # Those of the server, so that the packages of both are compiled once.
    tags=PROMETHEUS.tags,
    estimated_seconds=60,
)
_HELM = "helm.sh/helm/v3"
HELM = Target(
    name="helm",
    package=f"{_HELM}/cmd/helm",
    pinned_module=_HELM,
    # Helm judges a chart's `kubeVersion` offline by the last two; a constant, v1.20, where they are not set.
    ldflags=(
        f"-X {_HELM}/internal/version.version={{version}} "
        f"-X {_HELM}/pkg/chartutil.k8sVersionMajor=1 -X {_HELM}/pkg/chartutil.k8sVersionMinor=36 "
        f"-X {_HELM}/pkg/lint/rules.k8sVersionMajor=1 -X {_HELM}/pkg/lint/rules.k8sVersionMinor=36"
    ),
    estimated_seconds=120,
)
KIND = Target(
    name="kind",
    package="sigs.k8s.io/kind",
    pinned_module="sigs.k8s.io/kind",
    ldflags="",
    estimated_seconds=10,
)
INFERENCE_SIM = Target(
    name="llm-d-inference-sim",
    package="github.com/llm-d/llm-d-inference-sim/cmd/llm-d-inference-sim",
    pinned_module="github.com/llm-d/llm-d-inference-sim",
    ldflags="",
    estimated_seconds=180,
)
KARPENTER = Target(
    name="karpenter-cloud",
    package=".",
    pinned_module="sigs.k8s.io/karpenter",
    ldflags="-X sigs.k8s.io/karpenter/pkg/operator.Version={major}.{minor}.{patch}",
    estimated_seconds=180,
)
LWS = Target(
    name="lws",
    package="sigs.k8s.io/lws/cmd",
    pinned_module="sigs.k8s.io/lws",
    ldflags="",
    estimated_seconds=200,
)
ALL = (CONTROL_PLANE, KWOK, PROMETHEUS)
#: Real controllers that journeys of node pools and of serving stacks start beside a cluster.
PROVISIONERS = (KARPENTER, LWS)
#: Built when asked for: no part of a cluster.
OPTIONAL = (HELM, PROMTOOL, KIND, INFERENCE_SIM, *PROVISIONERS)
