"""Scale targets: which object's replicas a variant is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import Field, StrictStr

from forebay.api.base import SUBDOMAIN, ApiModel, ObjectName
from forebay.api.rules import Rule, matching
from forebay.flow.kinds import KINDS

KNOWN_KINDS: Mapping[str, str] = MappingProxyType({row.kind: row.api_version for row in KINDS})
"""Kinds that need no ``apiVersion``, with the one that they get."""

UNSCALABLE_KINDS: tuple[str, ...] = (
    "CronJob",
    "DaemonSet",
    "HorizontalPodAutoscaler",
    "InferencePool",
    "Job",
    "LLMInferenceService",
    "Pod",
    "ScaledObject",
    "Service",
)
"""Kinds that users reach for and that have no ``/scale`` of their own."""

_KINDS_CEL = "[" + ", ".join(f"'{kind}'" for kind in KNOWN_KINDS) + "]"
_GROUPS_CEL = "{" + ", ".join(f"'{kind}': '{api.split('/')[0]}'" for kind, api in KNOWN_KINDS.items()) + "}"
_UNSCALABLE_CEL = "[" + ", ".join(f"'{kind}'" for kind in UNSCALABLE_KINDS) + "]"


def _group(api_version: str) -> str:
    return api_version.partition("/")[0]


class Target(ApiModel):
    """An object with a ``/scale`` subresource, in the pool's namespace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!(self.kind in {_UNSCALABLE_CEL})",
            "target.kind has no /scale of its own: name the Deployment, StatefulSet or LeaderWorkerSet that runs"
            " the engine (of an LLMInferenceService the Deployment NAME-kserve)",
            lambda target: target.kind not in UNSCALABLE_KINDS,
            ".kind",
        ),
        Rule(
            f"has(self.apiVersion) || self.kind in {_UNSCALABLE_CEL} || self.kind in {_KINDS_CEL}",
            f"target.kind is not one of {', '.join(KNOWN_KINDS)}: add target.apiVersion as group/version of a kind"
            " that has /scale",
            lambda target: target.api_version is not None or target.kind in (*UNSCALABLE_KINDS, *KNOWN_KINDS),
            ".kind",
        ),
        Rule(
            f"!has(self.apiVersion) || !(self.kind in {_KINDS_CEL})"
            f" || self.apiVersion.split('/')[0] == {_GROUPS_CEL}[self.kind]",
            "target.apiVersion is not the group of this kind: remove target.apiVersion, or correct it",
            lambda target: (
                target.api_version is None
                or target.kind not in KNOWN_KINDS
                or _group(target.api_version) == _group(KNOWN_KINDS[target.kind])
            ),
            ".apiVersion",
        ),
    )

    api_version: (
        Annotated[
            StrictStr,
            Field(max_length=253),
            matching(
                f"{SUBDOMAIN}/v[1-9][0-9]*((alpha|beta)[1-9][0-9]*)?",
                "must be the group and version of a kind that has /scale: write it like apps/v1",
            ),
        ]
        | None
    ) = None
    """Group and version, such as apps/v1. Needed only for kinds that Forebay does not know: a target without it is
    refused with the list of known kinds."""
    kind: Annotated[
        StrictStr,
        Field(min_length=1, max_length=63),
        matching("[A-Z][A-Za-z0-9]*", "must be a kind in CamelCase, such as Deployment: correct its spelling"),
    ]
    """Kind, such as Deployment or LeaderWorkerSet."""
    name: ObjectName
    """Name of the object."""

    @property
    def effective_api_version(self) -> str:
        """Return the group and version, given or known."""
        return self.api_version or KNOWN_KINDS[self.kind]
