"""From a ScalingPolicy, or the name of a preset, to the constants of the policy."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from forebay.api.v1alpha1.scalingpolicy import Preset, ScalingPolicySpec
from forebay.flow.settings import PolicySettings

MISS_PRICES: Mapping[Preset, float] = MappingProxyType(
    {Preset.COST_SAVER: 8.0, Preset.BALANCED: 20.0, Preset.LATENCY_FIRST: 60.0}
)
"""Price of one missed request, in units of the replica-seconds that one request costs."""


def preset_named(name: str) -> Preset | None:
    """Return the preset called ``name``, or ``None``."""
    return Preset(name) if name in set(Preset) else None


def policy_settings(policy: ScalingPolicySpec) -> PolicySettings:
    """Return a policy's constants; what it leaves out comes from its preset. Schedules are not in it."""
    forecast, stabilisation = policy.forecast, policy.stabilisation
    price = policy.miss_price.value if policy.miss_price is not None else MISS_PRICES[policy.preset]
    settings = PolicySettings(miss_price=price)
    if policy.max_utilization_percent is not None:
        settings = replace(settings, q90_utilisation_limit=policy.max_utilization_percent / 100)
    if policy.release_price_percent is not None:
        settings = replace(settings, release_price_factor=policy.release_price_percent / 100)
    if policy.error_budget is not None and policy.error_budget.window is not None:
        settings = replace(settings, budget_half_life_seconds=policy.error_budget.window.seconds)
    if policy.guards is not None and policy.guards.restart is not None:
        settings = replace(settings, restart_guard_seconds=policy.guards.restart.seconds)
    settings = replace(settings, spare_replicas=policy.spare_replicas, route_by_length=policy.route_by_length)
    if forecast is not None:
        settings = replace(settings, forecast_enabled=forecast.enabled)
        if forecast.rate_window is not None:
            settings = replace(settings, rate_window_seconds=forecast.rate_window.seconds)
        if forecast.growth_cap_percent is not None:
            settings = replace(settings, growth_cap=forecast.growth_cap_percent / 100)
    if stabilisation is not None:
        settings = replace(
            settings,
            max_scale_out_step=stabilisation.max_scale_out_step,
            max_scale_in_step=stabilisation.max_scale_in_step,
            actions_per_hour=stabilisation.actions_per_hour,
        )
    return settings
