"""ScalingPolicy: how demand is foreseen, how fast a pool may change, and which loads are known ahead."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StrictBool, StrictInt, StrictStr

from forebay.api.base import WHOLE, ApiModel, Column, Resource, ResourceInfo
from forebay.api.rules import ListType, Rule, matching
from forebay.api.text import Duration, Quantity, between, quantity_between

_MINUTE = "[0-5]?[0-9]"
_HOUR = "([01]?[0-9]|2[0-3])"
_DAY = "([1-9]|0[1-9]|[12][0-9]|3[01])"
_MONTH = "([1-9]|0[1-9]|1[0-2])"
_WEEKDAY = "[0-7]"


def _cron_field(value: str) -> str:
    part = rf"(\*|{value}(-{value})?)(/[1-9][0-9]?)?"
    return f"{part}(,{part})*"


_CRON = " ".join(_cron_field(value) for value in (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY))
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"

ClockTime = Annotated[
    StrictStr,
    Field(max_length=5),
    matching(_CLOCK, "must be a time of day from 00:00 to 23:59: write it like 09:00"),
]


class Weekday(StrEnum):
    """A day of the week."""

    MON = "Mon"
    TUE = "Tue"
    WED = "Wed"
    THU = "Thu"
    FRI = "Fri"
    SAT = "Sat"
    SUN = "Sun"


class Schedule(ApiModel):
    """A load known ahead: during each occurrence the demand is taken to be at least requestsPerSecond."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.cron) != (has(self.start) || has(self.end) || has(self.days))",
            "schedules: give either cron with duration, or start and end with days",
            lambda schedule: (schedule.cron is not None) != schedule.names_hours(),
        ),
        Rule(
            "has(self.cron) == has(self.duration)",
            "schedules: cron and duration belong together; add the one that is missing, or remove the other",
            lambda schedule: (schedule.cron is None) == (schedule.duration is None),
        ),
        Rule(
            "has(self.cron) || (has(self.start) && has(self.end))",
            "schedules: start and end belong together; add the one that is missing",
            lambda schedule: bool(schedule.cron) or (schedule.start is not None and schedule.end is not None),
        ),
        Rule(
            "!has(self.start) || !has(self.end) || self.start != self.end",
            "schedules: start equals end; move one of them (an end before the start means the next day)",
            lambda schedule: schedule.start is None or schedule.start != schedule.end,
        ),
    )

    name: Annotated[
        StrictStr,
        Field(min_length=1, max_length=63),
        matching("[a-z0-9]([a-z0-9-]*[a-z0-9])?", "must be a short name: use lower-case letters, digits and '-'"),
    ]
    """Name, shown in decisions."""
    cron: (
        Annotated[
            StrictStr,
            Field(max_length=128),
            matching(
                _CRON,
                "must be five cron fields of numbers, '*', '-', ',' and '/': write it like 30 8 * * 1-5",
            ),
        ]
        | None
    ) = None
    """When each occurrence starts: minute, hour, day of month, month, day of week."""
    duration: Annotated[Duration, between("1m", "168h", such_as="8h")] | None = None
    """How long each occurrence of cron lasts."""
    days: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=7), ListType("set")] | None = None
    """Days on which start lies; every day if left out."""
    start: ClockTime | None = None
    """Time of day, such as 09:00."""
    end: ClockTime | None = None
    """Time of day; before start means the next day."""
    time_zone: Annotated[
        StrictStr,
        Field(max_length=64),
        matching(
            "[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}",
            "must be a zone of the IANA time zone database: write it like Europe/Berlin",
        ),
    ] = "UTC"
    """Zone of the IANA time zone database."""
    requests_per_second: Annotated[Quantity, quantity_between("0.001", "1000000", such_as="40")]
    """Demand to be ready for."""

    def names_hours(self) -> bool:
        """Tell whether the schedule is given by days and times of day, not by cron."""
        return any(given is not None for given in (self.start, self.end, self.days))


class ErrorBudget(ApiModel):
    """The misses that the objective still allows."""

    window: Annotated[Duration, between("10m", "720h", such_as="12h")] | None = None
    """How long a miss is remembered: after this long it counts half. Default 12h: a day's quiet and busy hours
    share one budget."""


class Guards(ApiModel):
    """Times during which nothing is released."""

    restart: Annotated[Duration, between("0s", "24h", such_as="10m")] | None = None
    """No scale-in for this long after Forebay (re)starts, or two lead times if longer. Default 5m."""


class Stabilisation(ApiModel):
    """How fast a pool may change; a pool's own limits take precedence."""

    max_scale_out_step: Annotated[StrictInt, Field(ge=1, le=10_000), WHOLE] | None = None
    """Most replicas that one round adds to a role."""
    max_scale_in_step: Annotated[StrictInt, Field(ge=1, le=10_000), WHOLE] | None = None
    """Most replicas that one round takes from a role."""
    actions_per_hour: Annotated[StrictInt, Field(ge=1, le=240), WHOLE] | None = None
    """Most scaling actions per role in an hour. A standing queue is served whatever this says."""
    action_cost: Annotated[Duration, between("0s", "1h", such_as="3m")] | None = None
    """What an action must earn back beyond the start-up of its replicas, as time of one replica. More means fewer
    actions and a dearer fleet. Default 3m, and as much more as a role has more than ten replicas."""


class ScaleIn(ApiModel):
    """How replicas go.

    They are parked first where their pods can leave traffic one by one: where the pod template has the label
    forebay.io/serving: "true", by which Services and gateways select.
    """

    park: StrictBool = True
    """False removes replicas at once."""
    observe: Annotated[Duration, between("0s", "1h", such_as="60s")] | None = None
    """How long a replica stays parked at least. It comes back within a second if it is missed, and does not go
    while the pool spends its error budget twice as fast as it may. Default 60s."""
    patience: Annotated[Duration, between("1m", "24h", such_as="30m")] | None = None
    """How long a parked replica may take to finish what it holds. Default 30m."""


class Forecast(ApiModel):
    """How demand is foreseen."""

    enabled: StrictBool = True
    """False sizes for the rate of the last minute only."""
    rate_window: Annotated[Duration, between("15s", "1h", such_as="60s")] | None = None
    """Window over which the present rate is counted. Default 60s."""
    growth_cap_percent: Annotated[StrictInt, Field(ge=0, le=1000), WHOLE] | None = None
    """Growth believed above the highest rate of the last day, in per cent. Default 15."""


class ExternalForecast(ApiModel):
    """A forecast of the user's own, read from Prometheus."""

    promql: Annotated[StrictStr, Field(min_length=1, max_length=2048)]
    """Query whose single value is the demand to be ready for, in requests per second. An instant query, once
    a minute; its answer is taken for the rate at every time ahead, so let it look ahead by the lead time itself,
    such as predict_linear(requests:rate5m[1h], 300) for 300 s."""


class ScalingPolicySpec(ApiModel):
    """How pools that name this policy reach their objective at least cost. Everything has a default."""

    forecast: Forecast | None = None
    """How demand is foreseen."""
    error_budget: ErrorBudget | None = None
    """The misses that the objective still allows."""
    guards: Guards | None = None
    """Times during which nothing is released."""
    stabilisation: Stabilisation | None = None
    """How fast a pool may change."""
    scale_in: ScaleIn | None = None
    """How replicas go."""
    spare_replicas: Annotated[StrictInt, Field(ge=0, le=16), WHOLE] = 0
    """Replicas per role beyond what is needed, so that as many may fail without loss: 1 is N+1."""
    route_by_length: StrictBool = False
    """The router honours the weights per prompt length in the pool's status (roles[].routes), so that GPU types
    may be bought for the lengths that they serve best."""
    schedules: Annotated[tuple[Schedule, ...], Field(max_length=32), ListType("map", ("name",))] = ()
    """Loads known ahead."""
    external_forecast: ExternalForecast | None = None
    """A forecast of the user's own. It is weighed beside the operator's own forecasters by how well each did
    lately: one that was right takes over, one that was wrong counts for little. To be ready for a load whatever
    the forecasters say, use schedules."""


class ScalingPolicy(Resource):
    """How pools reach their objective at least cost, and which loads are known ahead."""

    info = ResourceInfo(
        plural="scalingpolicies",
        singular="scalingpolicy",
        namespaced=True,
        columns=(
            Column("Forecast", ".spec.forecast.enabled", "boolean", description="Whether demand is foreseen"),
            Column("Spare", ".spec.spareReplicas", "integer", description="Replicas per role that may fail"),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
    )

    spec: ScalingPolicySpec
    """How pools that name this policy reach their objective at least cost."""
