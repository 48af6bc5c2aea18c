"""From a ScalingPolicy to the constants of the policy."""

from dataclasses import replace

from forebay.api.v1alpha1.scalingpolicy import ScaleIn, ScalingPolicySpec
from forebay.flow.settings import PolicySettings


def policy_settings(policy: ScalingPolicySpec) -> PolicySettings:
    """Return a policy's constants; what it leaves out has its default. Schedules are not in it."""
    forecast, stabilisation = policy.forecast, policy.stabilisation
    settings = PolicySettings()
    if policy.error_budget is not None and policy.error_budget.window is not None:
        settings = replace(settings, budget_half_life_seconds=policy.error_budget.window.seconds)
    if policy.guards is not None and policy.guards.restart is not None:
        settings = replace(settings, restart_guard_seconds=policy.guards.restart.seconds)
    settings = replace(settings, spare_replicas=policy.spare_replicas, route_by_length=policy.route_by_length)
    if policy.scale_in is not None:
        settings = _scale_in(settings, policy.scale_in)
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
        if stabilisation.action_cost is not None:
            settings = replace(settings, action_cost_seconds=stabilisation.action_cost.seconds)
    return settings


def _scale_in(settings: PolicySettings, given: ScaleIn) -> PolicySettings:
    return replace(
        settings,
        parks=given.park,
        park_seconds=settings.park_seconds if given.observe is None else given.observe.seconds,
        park_patience_seconds=settings.park_patience_seconds if given.patience is None else given.patience.seconds,
    )
