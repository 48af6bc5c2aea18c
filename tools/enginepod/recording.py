"""What an engine counts, as vLLM does: when disaggregated, a prefill engine is done with the first token."""

import numpy as np

from enginepod.engine import Engine, Job, Passed, Work
from enginesim.exposition import render
from enginesim.series import Target
from enginesim.tables import load_table
from forebay.flow.fleet import Role


class Recording:
    """The series of one engine."""

    def __init__(self, *, model: str, dialect: str, engine: Engine) -> None:
        """Begin the series of ``engine`` at zero, under the names of ``dialect``."""
        capacity = engine.performance.kv_capacity_tokens
        names = {"model": model, "pool": model, "role": str(Role.SERVE), "kv_blocks_16": str(capacity // 16)}
        self._engine = engine
        self._target = Target(load_table(dialect), names)
        self._target.set("kv_capacity", capacity)

    def text(self) -> str:
        """Return the text of ``/metrics`` as of the engine's last step."""
        engine, target = self._engine, self._target
        target.set("running", engine.running)
        target.set("waiting", engine.waiting)
        target.set("queued", engine.waiting)
        target.set("kv_tokens", engine.kv_tokens)
        target.set("kv_usage", min(1.0, engine.kv_tokens / engine.performance.kv_capacity_tokens))
        target.follow("output_tokens", engine.generated)
        return render(target)

    def took(self) -> None:
        """Count a request that came."""
        self._target.add("started", 1)

    def lost(self) -> None:
        """Count a request whose client went away."""
        self._target.add("aborted", 1)

    def record(self, passed: Passed) -> None:
        """Count what was reached."""
        for job in passed.first_token:
            self._observe("ttft_seconds", job.first_token - job.arrival)
            self._observe("ttft_at_the_end_seconds", job.first_token - job.arrival)
            self._observe("queue_seconds", job.started - job.arrival)
            self._target.add("prompt_tokens", job.prompt_tokens)
        for job in passed.done:
            self._finish(job)

    def _finish(self, job: Job) -> None:
        decoding = job.done - job.first_token
        self._target.add("finished", 1)
        self._observe("e2e_seconds", job.done - job.arrival)
        self._observe("inference_seconds", job.done - job.started)
        self._observe("prompt_length", job.prompt_tokens)
        self._observe("output_length", job.output_tokens)
        # vLLM claims the prefill of prompts whose KV cache it was sent, too.
        self._observe("claimed_prefill_seconds", job.first_token - job.started)
        self._observe("claimed_length", job.prompt_tokens)
        if job.work is not Work.DECODE:
            self._observe("prefill_seconds", job.first_token - job.started)
            self._observe("uncached_length", job.prompt_tokens)
            self._observe("cached_length", 0.0)
        if job.work is not Work.PREFILL and job.output_tokens > 1:
            between = job.output_tokens - 1
            self._observe("decode_seconds", decoding)
            self._observe("request_itl_seconds", decoding / between)
            self._observe("token_itl_seconds", decoding / between, weight=between)

    def _observe(self, quantity: str, value: float, *, weight: float | None = None) -> None:
        weights = None if weight is None else np.array([weight])
        self._target.observe(quantity, np.array([value]), weights)
