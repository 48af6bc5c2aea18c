"""``python -m enginepod``: an engine, or traffic for engines."""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from enginepod.traffic import Request, parse_steps, played, stepped
from forebay.flow.performance import Performance

#: Round figures of a fast replica of a large model, measured on nothing; scenarios give their own.
DEFAULTS: dict[str, float] = {
    "prefill_base_seconds": 0.02,
    "prefill_seconds_per_token": 5e-5,
    "decode_base_seconds": 0.015,
    "decode_seconds_per_sequence": 1e-4,
    "decode_seconds_per_kv_token": 5e-8,
    "max_batch": 128,
    "kv_capacity_tokens": 400_000,
    "kv_transfer_seconds_per_token": 2e-6,
}
_COUNTS = ("max_batch", "kv_capacity_tokens")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_engine(options) if options.command == "engine" else _load(options))
    except (ValueError, OSError) as error:
        print(f"enginepod: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m enginepod", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    engine = commands.add_parser("engine", help="one inference engine without a GPU")
    engine.add_argument("--model", default="chat", help="name under which it serves (default: %(default)s)")
    engine.add_argument("--dialect", default="vllm", help="whose metric names it uses (default: %(default)s)")
    engine.add_argument("--startup-seconds", type=float, default=0.0, help="nobody listens for so long")
    engine.add_argument("--drain-seconds", type=float, default=20.0, help="longest end after SIGTERM")
    engine.add_argument(
        "--speed", nargs="*", default=[], metavar="KEY=VALUE", help=f"any of {', '.join(DEFAULTS)}"
    )
    _address(engine, 8000)
    load = commands.add_parser("load", help="traffic for engines")
    load.add_argument("--model", default="chat", help="named in each request (default: %(default)s)")
    load.add_argument("--serve", metavar="URL", help="headless Service of engines that serve whole requests")
    load.add_argument("--prefill", metavar="URL", help="headless Service of engines that prefill")
    load.add_argument("--decode", metavar="URL", help="headless Service of engines that decode")
    load.add_argument("--steps", default="1", help="SECONDS:RATE,...; a RATE alone goes on (default: %(default)s)")
    load.add_argument("--trace", type=Path, help="a recorded trace instead of steps")
    load.add_argument("--trace-rate", type=float, help="mean requests per second of the trace")
    load.add_argument("--trace-speed", type=float, default=1.0, help="its clock runs so many times faster")
    load.add_argument("--input-tokens", type=int, default=500, help="of each request of steps")
    load.add_argument("--output-tokens", type=int, default=150, help="of each request of steps")
    load.add_argument(
        "--max-rate", type=float, default=50.0, help="most requests per second (default: %(default)s)"
    )
    load.add_argument("--max-seconds", type=float, default=3_600.0, help="then nothing more is sent")
    load.add_argument("--ttft-seconds", type=float, default=1.0, help="target by which /status judges")
    load.add_argument("--itl-seconds", type=float, default=0.05, help="target by which /status judges")
    _address(load, 9090)
    return parser


def _address(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 - a pod's own
    parser.add_argument("--port", type=int, default=port, help="port to listen on (default: %(default)s)")


def performance(pairs: Sequence[str]) -> Performance:
    """Return the speed that KEY=VALUE pairs give over the defaults.

    Raises:
        ValueError: a pair is none, or names no part of the speed.
    """
    figures = dict(DEFAULTS)
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in figures:
            raise ValueError(f"--speed {pair}: write KEY=VALUE with one of {', '.join(figures)}")
        figures[key] = float(value)
    counts = {key: int(figures.pop(key)) for key in _COUNTS}
    return Performance(
        source="enginepod",
        max_batch=counts["max_batch"],
        kv_capacity_tokens=counts["kv_capacity_tokens"],
        **figures,
    )


async def _engine(options: argparse.Namespace) -> None:
    from enginepod import serving  # the load generator needs none of it

    await serving.serve(
        serving.Options(
            model=options.model,
            dialect=options.dialect,
            host=options.host,
            port=options.port,
            startup_seconds=options.startup_seconds,
            drain_seconds=options.drain_seconds,
            performance=performance(options.speed),
        )
    )


async def _load(options: argparse.Namespace) -> None:
    from enginepod import load, loading

    if bool(options.serve) == bool(options.prefill) or bool(options.prefill) != bool(options.decode):
        raise ValueError("give --serve, or --prefill and --decode")
    await loading.load(
        loading.Options(
            model=options.model,
            first=options.serve or options.prefill,
            second=options.decode,
            traffic=_traffic(options),
            input_tokens=options.input_tokens,
            output_tokens=options.output_tokens,
            limits=load.Limits(requests_per_second=options.max_rate, seconds=options.max_seconds),
            ttft_seconds=options.ttft_seconds,
            itl_seconds=options.itl_seconds,
            host=options.host,
            port=options.port,
        )
    )


def _traffic(options: argparse.Namespace) -> Iterator[Request]:
    if options.trace is None:
        steps = parse_steps(options.steps, most_per_second=options.max_rate)
        return stepped(steps, input_tokens=options.input_tokens, output_tokens=options.output_tokens, seed=1)
    from forebay.offline.traces import LoadOptions, compress_time, load_trace

    trace = load_trace(options.trace, LoadOptions(requests_per_second=options.trace_rate, history_seconds=0.0))
    return played(compress_time(trace, options.trace_speed, seed=1) if options.trace_speed > 1 else trace)
