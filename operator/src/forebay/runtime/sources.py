"""Which telemetry source the settings ask for."""

import math

from forebay.runtime.settings import OperatorSettings
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusAuth, PrometheusSettings
from forebay.telemetry.source import TelemetrySource
from forebay.telemetry.transport.meter import TelemetryMeter

_COARSEST_GRID_SECONDS = 5


def telemetry_source(settings: OperatorSettings, meter: TelemetryMeter) -> TelemetrySource:
    """Return the Prometheus source.

    Raises:
        ValueError: the settings of Prometheus are wrong; the message says what to change.
    """
    return PrometheusTelemetry(prometheus_settings(settings), meter=meter)


def prometheus_settings(settings: OperatorSettings) -> PrometheusSettings:
    """Return the settings of the Prometheus source that follow from the operator's."""
    interval = max(1.0, settings.interval_seconds)
    timeout = settings.prometheus_timeout_seconds
    return PrometheusSettings(
        url=settings.prometheus_url,
        auth=PrometheusAuth(
            bearer_token_file=settings.prometheus_token_file,
            basic_username=settings.prometheus_username,
            basic_password_file=settings.prometheus_password_file,
            client_certificate_file=settings.prometheus_certificate_file,
            client_key_file=settings.prometheus_key_file,
            headers=dict(settings.prometheus_headers),
        ),
        ca_file=settings.prometheus_ca_file,
        proxy_url=settings.prometheus_proxy,
        read_timeout_seconds=timeout / 2,
        query_timeout_seconds=timeout,
        interval_seconds=interval,
        # Evaluation times lie on a grid no wider than a round, so that no round sees the same instant twice.
        grid_seconds=min(_COARSEST_GRID_SECONDS, math.floor(interval)),
        settle_seconds=settings.prometheus_settle_seconds,
        match_labels=dict(settings.prometheus_match_labels),
        history_step_seconds=int(settings.forecast_step_seconds),
        namespace_label=settings.prometheus_namespace_label,
        pod_label=settings.prometheus_pod_label,
        workload_label=settings.prometheus_workload_label,
    )
