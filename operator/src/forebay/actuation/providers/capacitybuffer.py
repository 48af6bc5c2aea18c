"""Warm nodes by a CapacityBuffer, which Karpenter (gate CapacityBuffer) and Cluster Autoscaler 1.35 read.

Measured on Karpenter 1.14 and heeded here: `Provisioning=True` means ordered, not there, so what is free is read
from the nodes; at a limit its message counts chunks that `failed`; sold out, it says the same as when it waits,
and only the events about NodeClaims tell.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from forebay.actuation.conflicts import parse_time
from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.chunks import chunk_pod, chunks_to_hold, metadata, object_name
from forebay.actuation.providers.port import Binding, CapacityWish, Situation
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.scalesubresource import explained
from forebay.actuation.providers.sight import Cause, ProviderSight, Word

_GROUP = "autoscaling.x-k8s.io/v1beta1"
_FAILED = re.compile(r"(?<!\d)([1-9]\d*) failed")
_RIGHT = "rbac.nodeProviders.capacityBuffers"


class CapacityBufferProvider:
    """Keeps a CapacityBuffer and its PodTemplate as the plan wants them.

    Args:
        api: a fenced client.
        provisioners: what Karpenter shows.
    """

    def __init__(self, api: KubeApi, provisioners: Provisioners) -> None:
        self._api = api
        self._provisioners = provisioners

    async def sight(self, binding: Binding, now_seconds: float) -> ProviderSight:
        """Return what Karpenter shows of these nodes, and what the buffer says could not be had."""
        shown = self._provisioners.karpenter_sight(binding)
        try:
            buffer = await self._buffer(binding)
        except ApiError as error:
            return replace(shown, problem=explained(error, f"CapacityBuffer {object_name(binding)}", _RIGHT))
        word = None if buffer is None else failure(buffer, now_seconds)
        return shown if word is None else replace(shown, words=(*shown.words, word))

    async def ensure(self, binding: Binding, wish: CapacityWish, situation: Situation) -> str:
        """Make the buffer hold as many chunks as the plan wants; without any it is not made in the first place."""
        chunks = chunks_to_hold(binding, wish, situation)
        try:
            buffer = await self._buffer(binding)
            if buffer is None and chunks == 0:
                return ""
            held = (buffer or {}).get("spec") or {}
            template = await self._template(binding)
            pod = chunk_pod(binding, wish.chunk_gpus)
            if template is None or not _covers(template.get("template", {}).get("spec"), pod):
                await self._apply("/api/v1", "podtemplates", binding, {"template": {"spec": pod}})
            if held.get("replicas") != chunks:
                spec = {"podTemplateRef": {"name": object_name(binding)}, "replicas": chunks}
                await self._apply(f"/apis/{_GROUP}", "capacitybuffers", binding, {"spec": spec})
        except ApiError as error:
            return explained(error, f"CapacityBuffer {object_name(binding)}", _RIGHT)
        return ""

    async def _buffer(self, binding: Binding) -> Mapping[str, Any] | None:
        return await self._get(f"/apis/{_GROUP}", "capacitybuffers", binding)

    async def _template(self, binding: Binding) -> Mapping[str, Any] | None:
        return await self._get("/api/v1", "podtemplates", binding)

    async def _get(self, prefix: str, plural: str, binding: Binding) -> Mapping[str, Any] | None:
        try:
            return await self._api.get(_path(prefix, plural, binding))
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def _apply(self, prefix: str, plural: str, binding: Binding, body: Mapping[str, Any]) -> None:
        kind = "PodTemplate" if plural == "podtemplates" else "CapacityBuffer"
        version = "v1" if plural == "podtemplates" else _GROUP
        whole = {"apiVersion": version, "kind": kind, "metadata": metadata(binding, _namespace(binding)), **body}
        await self._api.apply(_path(prefix, plural, binding), whole)


def failure(buffer: Mapping[str, Any], now_seconds: float) -> Word | None:
    """Return what a buffer says could not be had; None while it waits, or has all of it."""
    generation = (buffer.get("metadata") or {}).get("generation")
    for condition in (buffer.get("status") or {}).get("conditions") or ():
        told = str(condition.get("message") or "")
        if condition.get("observedGeneration") not in {None, generation}:
            continue  # of the spec before
        if condition.get("type") == "Provisioning" and condition.get("status") == "False" and _FAILED.search(told):
            at_seconds = parse_time(condition.get("lastTransitionTime")) or now_seconds
            return Word(cause=Cause.LIMIT_REACHED, message=f"CapacityBuffer: {told}.", at_seconds=at_seconds)
    return None


def _covers(found: object, wanted: object) -> bool:
    """Whether an object as stored has all that is wanted of it; the API server adds defaults."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_covers(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_covers(*pair) for pair in zip(found, wanted, strict=True))
        )
    return found == wanted


def _namespace(binding: Binding) -> str:
    given = binding.provider.capacity_buffer
    return given.namespace if given is not None else ""


def _path(prefix: str, plural: str, binding: Binding) -> str:
    return f"{prefix}/namespaces/{_namespace(binding)}/{plural}/{object_name(binding)}"
