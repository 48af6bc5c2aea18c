"""An iteration-level reference: every decode step of every replica is an event.

Written apart from the simulator and much slower. A sequence whose KV cache arrives joins the running batch at the
next step, as in an engine with continuous batching; the step's time uses the KV tokens resident at its start.
"""

import heapq
from dataclasses import dataclass, field

import numpy as np

from forebay.flow.performance import Performance
from forebay.flow.trace import FloatArray, RequestTrace


@dataclass
class Decoder:
    """One decode replica."""

    steps: int = 0
    resident: float = 0.0
    running: list[tuple[int, int]] = field(default_factory=list)
    """Heap of (step at which it ends, request)."""
    joining: list[int] = field(default_factory=list)
    stepping: bool = False

    @property
    def load(self) -> int:
        return len(self.running) + len(self.joining)


def iterate(
    trace: RequestTrace, performance: Performance, prefillers: int, decoders: int
) -> tuple[FloatArray, FloatArray]:
    """Return TTFT and mean ITL per request of a fixed fleet without KV limits."""
    arrival, prompt, output = trace.arrival_seconds, trace.input_tokens, trace.output_tokens
    ttft = np.empty(len(trace))
    moved: list[tuple[float, int]] = []
    free = [0.0] * prefillers
    for request in range(len(trace)):
        start = max(heapq.heappop(free), arrival[request])
        end = start + performance.prefill_seconds(float(prompt[request]))
        heapq.heappush(free, end)
        ttft[request] = end - arrival[request]
        moved.append((end + performance.kv_transfer_seconds_per_token * float(prompt[request]), request))
    moved.sort()
    done = _decode(moved, trace, performance, decoders)
    transfer = performance.kv_transfer_seconds_per_token * prompt
    return ttft, (done - arrival - ttft - transfer) / output


def _decode(
    moved: list[tuple[float, int]], trace: RequestTrace, performance: Performance, count: int
) -> FloatArray:
    done = np.empty(len(trace))
    fleet = [Decoder() for _ in range(count)]
    events: list[tuple[float, int]] = []
    position = 0
    while position < len(moved) or events:
        if position < len(moved) and (not events or moved[position][0] <= events[0][0]):
            now, request = moved[position]
            position += 1
            number = min(range(count), key=lambda n: (fleet[n].load, n))
            fleet[number].joining.append(request)
            if not fleet[number].stepping:
                _begin_step(fleet[number], number, now, trace, performance, events)
            continue
        now, number = heapq.heappop(events)
        decoder = fleet[number]
        decoder.steps += 1
        decoder.resident += len(decoder.running)
        while decoder.running and decoder.running[0][0] <= decoder.steps:
            _, request = heapq.heappop(decoder.running)
            decoder.resident -= float(trace.input_tokens[request] + trace.output_tokens[request])
            done[request] = now
        _begin_step(decoder, number, now, trace, performance, events)
    return done


def _begin_step(
    decoder: Decoder,
    number: int,
    now: float,
    trace: RequestTrace,
    performance: Performance,
    events: list[tuple[float, int]],
) -> None:
    for request in decoder.joining:
        heapq.heappush(decoder.running, (decoder.steps + int(trace.output_tokens[request]), request))
        decoder.resident += float(trace.input_tokens[request])
    decoder.joining.clear()
    decoder.stepping = bool(decoder.running)
    if decoder.stepping:
        step = performance.decode_step_seconds(len(decoder.running), decoder.resident)
        heapq.heappush(events, (now + step, number))
