"""What to simulate: pools, their workloads and their traffic, from a YAML file."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from enginesim.errors import EngineSimError
from forebay.flow.fleet import Role
from forebay.flow.performance import Performance

_CONFIG = ConfigDict(extra="forbid", frozen=True)


class Speed(BaseModel):
    """The true speed of one replica; the fields are those of `forebay.flow.performance.Performance`.

    The defaults are round figures for a fast replica of a large model, measured on nothing: 20,000 prompt tokens
    per second, and decode steps from 15 ms that grow with batch and context. Scenarios give their own.
    """

    model_config = _CONFIG
    prefill_base_seconds: Annotated[float, Field(ge=0)] = 0.02
    prefill_seconds_per_token: Annotated[float, Field(ge=0)] = 5e-5
    decode_base_seconds: Annotated[float, Field(gt=0)] = 0.015
    decode_seconds_per_sequence: Annotated[float, Field(ge=0)] = 1e-4
    decode_seconds_per_kv_token: Annotated[float, Field(ge=0)] = 5e-8
    max_batch: Annotated[int, Field(ge=1)] = 128
    kv_capacity_tokens: Annotated[int, Field(ge=1)] = 400_000
    kv_transfer_seconds_per_token: Annotated[float, Field(ge=0)] = 2e-6

    def performance(self) -> Performance:
        """Return the flow's value."""
        return Performance(**self.model_dump(), source="enginesim")


class Workload(BaseModel):
    """A scalable object whose Ready pods serve one role."""

    model_config = _CONFIG
    name: str
    kind: str = "Deployment"
    api: str = "apps/v1"
    plural: str | None = None
    """Of the kind in URLs; default: the kind in lower case with an s."""
    role: Role
    selector: str | None = None
    """Label selector of the pods; default: what the object's ``/scale`` says."""
    speed: Speed = Speed()
    port: int = 8000


class Slo(BaseModel):
    """What the status endpoint judges requests by."""

    model_config = _CONFIG
    ttft_seconds: Annotated[float, Field(gt=0)] = 1.0
    itl_seconds: Annotated[float, Field(gt=0)] = 0.05
    target: Annotated[float, Field(gt=0, lt=1)] = 0.95


class Traffic(BaseModel):
    """A trace to play: a file, or a preset of the generator."""

    model_config = _CONFIG
    file: Path | None = None
    preset: str = "chat"
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    seed: int = 0
    start_seconds: Annotated[float, Field(ge=0)] = 0.0
    duration_seconds: Annotated[float, Field(gt=0)] | None = None
    """Of the trace's own clock, before it is sped up."""
    speed: Annotated[float, Field(ge=1)] = 1.0
    """The trace's clock runs so many times faster; rate and latencies stay what they are."""


class Gateway(BaseModel):
    """A gateway before the pool, with metrics of its own."""

    model_config = _CONFIG
    name: str
    dialect: str = "inference-extension"
    holds_queue: bool = True
    """Requests wait in the gateway (flow control) until a replica takes them; else in the engines."""
    port: int = 9090


class PoolConfig(BaseModel):
    """One served model."""

    model_config = _CONFIG
    name: str
    namespace: str = "default"
    model: str = "example/model"
    engine: str = "vllm"
    slo: Slo = Slo()
    traffic: Traffic = Traffic()
    gateway: Gateway | None = None
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _roles(self) -> Self:
        roles = {workload.role for workload in self.workloads}
        if roles not in ({Role.SERVE}, {Role.PREFILL, Role.DECODE}):
            raise ValueError("workloads need prefill and decode, or serve alone")
        if len({workload.name for workload in self.workloads}) < len(self.workloads):
            raise ValueError("two workloads have one name")
        return self


class Config(BaseModel):
    """All that one process simulates."""

    model_config = _CONFIG
    pools: Annotated[tuple[PoolConfig, ...], Field(min_length=1)]
    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    tick_seconds: Annotated[float, Field(gt=0, le=5)] = 0.25
    """How often time moves."""
    poll_seconds: Annotated[float, Field(gt=0)] = 1.0
    """How often pods are listed."""


def load_config(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        EngineSimError: with one sentence per mistake.
    """
    try:
        return parse_config(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise EngineSimError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EngineSimError(f"{path} is not YAML: {error}") from None


def parse_config(data: object) -> Config:
    """Return a configuration from plain data.

    Raises:
        EngineSimError: with one sentence per mistake.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(str(part) for part in mistake['loc']) or 'configuration'}: {mistake['msg']}"
            for mistake in error.errors()
        )
        raise EngineSimError(mistakes) from None
