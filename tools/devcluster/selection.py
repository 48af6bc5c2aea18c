"""Which kind of cluster to use: what is there, fastest first, unless the environment says otherwise."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from devcluster import kind
from devcluster.binaries import Binaries
from devcluster.errors import DevClusterError

VARIABLE = "FOREBAY_CLUSTER"
KINDS = ("local", "kind", "kubeconfig")


@dataclass(frozen=True, slots=True)
class Choice:
    """A kind of cluster and why it was chosen, in words for a user."""

    kind: str
    reason: str

    def __str__(self) -> str:
        return f"cluster: {self.kind}, because {self.reason}"


def kind_at_hand() -> bool:
    """Whether `kind` could start at once: the command, a Docker that answers, and the node image in it."""
    return shutil.which("kind") is not None and kind.image_at_hand(os.environ)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the choice depends on, so that tests can state it.

    Attributes:
        environment: the environment's variables.
        binaries: what is built.
        kind_at_hand: whether kind could start at once.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    binaries: Binaries = field(default_factory=Binaries.from_environment)
    kind_at_hand: Callable[[], bool] = kind_at_hand


def select(surroundings: Surroundings | None = None) -> Choice:
    """Choose the kind of cluster.

    `FOREBAY_CLUSTER` decides where it is set. Otherwise: local binaries that are cached or named by
    `KUBEBUILDER_ASSETS`; kind with its image at hand; else local, after a build.

    Raises:
        DevClusterError: `FOREBAY_CLUSTER` names no kind.
    """
    at = surroundings or Surroundings()
    wanted = at.environment.get(VARIABLE, "").strip()
    if wanted:
        if wanted not in KINDS:
            raise DevClusterError(f"{VARIABLE} is {wanted!r}: set it to one of {', '.join(KINDS)}, or unset it")
        return Choice(wanted, f"{VARIABLE} says so")
    missing = [target.name for target in at.binaries.missing()]
    if not missing:
        if not at.binaries.missing_assets():
            return Choice("local", f"KUBEBUILDER_ASSETS={at.binaries.assets} has all programs of a control plane")
        return Choice("local", f"its binaries are cached in {at.binaries.cache}")
    todo = f"{', '.join(missing)} must be built once"
    lacking = at.binaries.missing_assets()
    if at.binaries.assets is not None and lacking:
        todo += f" (KUBEBUILDER_ASSETS={at.binaries.assets} lacks {', '.join(lacking)})"
    if at.kind_at_hand():
        return Choice("kind", f"kind and its node image are at hand, and for a local cluster {todo}")
    return Choice("local", f"there is no kind with a node image in Docker; {todo}")
