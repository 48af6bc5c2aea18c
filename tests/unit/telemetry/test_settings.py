"""Settings that cannot work are refused with a sentence."""

from pathlib import Path

import pytest

from forebay.telemetry.settings import PrometheusAuth, PrometheusSettings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url": "prometheus:9090"}, "must look like"),
        ({"url": "ftp://x"}, "must look like"),
        ({"url": "https://"}, "must look like"),
        ({"url": "https://me:pw@x"}, "no password"),
        ({"url": "https://x/?a=b"}, "no query"),
        ({"interval_seconds": 0.0}, "interval_seconds must be a positive"),
        ({"read_timeout_seconds": float("nan")}, "read_timeout_seconds must be a positive"),
        ({"threads": 0}, "threads"),
        ({"interval_seconds": 2.0}, "must not be shorter than grid_seconds"),
    ],
)
def test_wrong_settings(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PrometheusSettings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"bearer_token_file": Path("a"), "basic_username": "b"}, "not both"),
        ({"basic_username": "b"}, "needs both"),
        ({"basic_password_file": Path("b")}, "needs both"),
        ({"client_key_file": Path("b")}, "needs a client certificate"),
        ({"headers": {"A": "b\r\nc"}}, "line break"),
    ],
)
def test_wrong_credentials(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PrometheusAuth(**values)  # type: ignore[arg-type]
