"""ServingProfile: what one replica of a model sustains on a type of GPU, and where the figures come from."""

from typing import Annotated, ClassVar

from pydantic import Field, StrictInt, StrictStr

from forebay.api.base import WHOLE, ApiModel, Column, Resource, ResourceInfo
from forebay.api.rules import ListType, Rule, matching
from forebay.api.text import Duration, between
from forebay.api.v1alpha1.gpunodepool import AcceleratorName

Tokens = Annotated[StrictInt, Field(ge=1, le=100_000_000), WHOLE]
Batch = Annotated[StrictInt, Field(ge=1, le=100_000), WHOLE]
Latency = Annotated[Duration, between("1us", "1h", such_as="79.7ms")]
Coefficient = Annotated[Duration, between("0s", "1h", such_as="31ms or 40us")]


class PrefillMeasurement(ApiModel):
    """A measured prefill of one request."""

    input_tokens: Tokens
    """Uncached prompt tokens."""
    latency: Latency
    """Time that the prefill occupied the replica, without any wait in a queue."""


class DecodeMeasurement(ApiModel):
    """A measured decode iteration."""

    batch: Batch
    """Sequences that ran together."""
    context_tokens: Tokens
    """Tokens of each sequence in the KV cache, mean over the measurement."""
    itl: Latency
    """Time of one iteration: the inter-token latency of its sequences."""


class LinearModel(ApiModel):
    """Coefficients instead of points: prefill is linear in tokens, decode in sequences and resident KV tokens."""

    prefill_base: Coefficient
    """Prefill time of an empty prompt."""
    prefill_per_thousand_tokens: Latency
    """Prefill time that a thousand uncached prompt tokens add."""
    decode_base: Latency
    """Iteration time without any sequence."""
    decode_per_sequence: Coefficient
    """Iteration time that each sequence adds."""
    decode_per_thousand_kv_tokens: Coefficient = Field(alias="decodePerThousandKVTokens")
    """Iteration time that a thousand resident KV tokens add."""


class ServingProfileSpec(ApiModel):
    """What one replica sustains: measured points, or linear coefficients."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.linear) != (has(self.prefill) || has(self.decode))",
            "give either linear, or prefill and decode points",
            lambda spec: (spec.linear is not None) != bool(spec.prefill is not None or spec.decode is not None),
        ),
        Rule(
            "has(self.prefill) == has(self.decode)",
            "prefill and decode points belong together: add the one that is missing",
            lambda spec: (spec.prefill is None) == (spec.decode is None),
        ),
        Rule(
            "self.model == oldSelf.model && self.accelerator == oldSelf.accelerator"
            " && self.gpusPerReplica == oldSelf.gpusPerReplica",
            "model, accelerator and gpusPerReplica cannot change, because the figures belong to them;"
            " create another ServingProfile",
            None,
        ),
    )

    model: Annotated[
        StrictStr,
        Field(min_length=1, max_length=253),
        matching(
            "[A-Za-z0-9]([A-Za-z0-9._:/@+-]*[A-Za-z0-9])?",
            "must be a model's name: use letters, digits and . _ : / @ + -, such as meta-llama/Llama-3.1-70B",
        ),
    ]
    """Name of the model, such as meta-llama/Llama-3.1-70B."""
    accelerator: AcceleratorName
    """Product name of the GPU that was measured."""
    gpus_per_replica: Annotated[StrictInt, Field(ge=1, le=1024), WHOLE] = 1
    """GPUs of the replica that was measured."""
    prefill: (
        Annotated[
            tuple[PrefillMeasurement, ...], Field(min_length=2, max_length=64), ListType("map", ("input_tokens",))
        ]
        | None
    ) = None
    """Prefill times over prompt lengths: two points or more."""
    decode: (
        Annotated[
            tuple[DecodeMeasurement, ...],
            Field(min_length=2, max_length=128),
            ListType("map", ("batch", "context_tokens")),
        ]
        | None
    ) = None
    """Iteration times over batch sizes and contexts: two points or more."""
    linear: LinearModel | None = None
    """Coefficients instead of points."""
    max_batch: Batch
    """Most sequences that the replica decodes together."""
    kv_cache_tokens: Annotated[StrictInt, Field(ge=1, le=10_000_000_000), WHOLE]
    """Tokens that the replica's KV cache holds."""
    kv_transfer_per_thousand_tokens: Coefficient | None = None
    """Time to move the KV cache of a thousand tokens from a prefill to a decode replica."""
    source: Annotated[StrictStr, Field(min_length=1, max_length=1024)]
    """Where the figures come from: a public document, or the benchmark with its command."""


class ServingProfile(Resource):
    """What one replica of a model sustains on a type of GPU, per phase, with its source."""

    info = ResourceInfo(
        plural="servingprofiles",
        singular="servingprofile",
        namespaced=False,
        columns=(
            Column("Model", ".spec.model"),
            Column("GPU", ".spec.accelerator"),
            Column("GPUs", ".spec.gpusPerReplica", "integer", description="GPUs of one replica"),
            Column("Batch", ".spec.maxBatch", "integer", description="Most sequences decoded together"),
            Column("Age", ".metadata.creationTimestamp", "date"),
            Column("Source", ".spec.source", wide=True),
        ),
    )

    spec: ServingProfileSpec
    """What one replica sustains: measured points, or linear coefficients."""
