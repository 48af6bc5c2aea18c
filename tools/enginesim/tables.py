"""Metric tables: what each engine and gateway calls what the simulator knows, one YAML file per dialect."""

import math
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from enginesim.derived import derived_table
from enginesim.errors import EngineSimError
from forebay.telemetry.query.dialect import built_in

TABLES = Path(__file__).parent / "tables"
_CONFIG = ConfigDict(extra="forbid", frozen=True)


class _Geometric(BaseModel):
    model_config = _CONFIG
    start: float
    factor: float
    count: int


class _Linear(BaseModel):
    model_config = _CONFIG
    width: float
    count: int


class _RoundedLog(BaseModel):
    model_config = _CONFIG
    low: float
    high: float
    count: int


class Rule(BaseModel):
    """Bucket bounds by the rule of the engine's own code instead of a list."""

    model_config = _CONFIG
    geometric: _Geometric | None = None
    linear: _Linear | None = None
    rounded_log: _RoundedLog | None = None
    one_two_five: float | None = None

    def bounds(self) -> tuple[float, ...]:
        """Return the upper bounds without +Inf."""
        if self.geometric is not None:
            rule = self.geometric
            return tuple(rule.start * rule.factor**index for index in range(rule.count))
        if self.linear is not None:
            return tuple(self.linear.width * (index + 1) for index in range(self.linear.count))
        if self.rounded_log is not None:
            return _rounded_log(self.rounded_log)
        return _one_two_five(self.one_two_five or 1.0)


def _rounded_log(rule: _RoundedLog) -> tuple[float, ...]:
    """Return 0, then log-spaced bounds of two significant digits; duplicates by rounding are dropped."""
    ratio = math.log(rule.high / rule.low) / (rule.count - 1)
    bounds = [0.0] + [float(f"{rule.low * math.exp(ratio * index):.1e}") for index in range(1, rule.count)]
    return tuple(dict.fromkeys(bounds))


def _one_two_five(highest: float) -> tuple[float, ...]:
    """Return 1, 2, 5, 10, 20, 50 ... up to ``highest``."""
    bounds = (mantissa * 10.0**power for power in range(16) for mantissa in (1, 2, 5))
    return tuple(bound for bound in bounds if bound <= highest)


class Metric(BaseModel):
    """One series of a table. Entries of one name follow each other and share type and help."""

    model_config = _CONFIG
    name: Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
    """Without the suffix that counters get on the wire."""
    type: Literal["gauge", "counter", "histogram"]
    value: str
    """What the simulator knows it as; see `enginesim.series`."""
    help: str = ""
    labels: dict[str, str] = {}
    buckets: str | None = None
    lazy: bool = False
    """The series appears with its first event, as client libraries do with labelled series."""


class Table(BaseModel):
    """The metrics of one engine or gateway."""

    model_config = _CONFIG
    name: str
    dialect: str = ""
    """The dialect of `forebay.dialects` that reads it; empty: the one of this name."""
    kind: Literal["engine", "gateway"]
    labels: dict[str, str]
    """On every series; ``{model}``, ``{pool}``, ``{engine_type}`` and ``{kv_blocks_16}`` are filled in."""
    buckets: dict[str, tuple[float, ...] | Rule]
    metrics: tuple[Metric, ...]
    counter_suffix: str = "_total"
    engine_types: dict[str, str] = {}
    """Role -> the value of ``{engine_type}``."""
    include: str | None = None
    """Another table whose series are served as well."""

    def bounds(self, metric: Metric) -> tuple[float, ...]:
        """Return the upper bounds of a histogram, without +Inf.

        Raises:
            EngineSimError: if the table does not define them.
        """
        buckets = self.buckets.get(metric.buckets or "")
        if buckets is None:
            raise EngineSimError(f"table {self.name}: {metric.name} has no buckets named {metric.buckets!r}")
        return buckets.bounds() if isinstance(buckets, Rule) else buckets


@cache
def table_names() -> tuple[str, ...]:
    """Return the names of all tables: those with a file, and those that follow from a dialect without one."""
    return tuple(sorted({path.stem for path in TABLES.glob("*.yaml")} | set(built_in())))


@cache
def load_table(name: str) -> Table:
    """Return the table called ``name``.

    Raises:
        EngineSimError: if there is none.
    """
    if name not in table_names():
        raise EngineSimError(f"dialect {name!r} is unknown; known are {', '.join(table_names())}")
    if not (TABLES / f"{name}.yaml").exists():
        return Table.model_validate(derived_table(built_in()[name]))
    return Table.model_validate(yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8")))
