"""One replica in real time: the physics of `forebay.offline.simulation` for requests that nobody knows beforehand.

A prefill at a time, during which decoding stands still; then decoding as processor sharing, in which all sequences
gain tokens at one rate that falls with batch and resident KV cache. Pure: the caller gives the time.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from forebay.flow.performance import Performance


class Work(StrEnum):
    """Which part of a request an engine does."""

    WHOLE = "whole"
    PREFILL = "prefill"
    """Its prompt and first token; another engine decodes."""
    DECODE = "decode"
    """Its tokens; another engine computed the KV cache, which is moved here first."""


@dataclass(slots=True, eq=False)
class Job:
    """A request in an engine. Times are the caller's clock; NaN until they are reached.

    Attributes:
        prompt_tokens: of the prompt.
        output_tokens: to be generated here.
        work: which part of it is done here.
        arrival: when it came.
        started: when its prefill, or its decoding where another engine prefilled, began.
        first_token: when its first token was out.
        done: when its last token was out.
        end: virtual time at which it has all its tokens, while it decodes.
    """

    prompt_tokens: int
    output_tokens: int
    work: Work
    arrival: float
    started: float = math.nan
    first_token: float = math.nan
    done: float = math.nan
    end: float = math.nan


@dataclass(frozen=True, slots=True)
class Passed:
    """Jobs that reached a milestone since the last look."""

    first_token: list[Job] = field(default_factory=list)
    done: list[Job] = field(default_factory=list)


class Engine:
    """Holds the requests of one replica and lets time pass over them."""

    def __init__(self, performance: Performance, now: float) -> None:
        self.performance = performance
        self.generated = 0.0
        """Tokens generated so far, by sequences that still run as well."""
        self._now = now
        self._prompts: deque[Job] = deque()
        self._prefilling: Job | None = None
        self._prefill_end = math.inf
        self._transfers: list[tuple[float, Job]] = []
        self._ready: deque[Job] = deque()
        self._batch: list[Job] = []
        self._virtual = 0.0
        self._passed = Passed()

    # What is ----------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Return how many requests are computed now."""
        return len(self._batch) + (self._prefilling is not None)

    @property
    def waiting(self) -> int:
        """Return how many wait for their prefill, their KV cache or a place in the batch."""
        return len(self._prompts) + len(self._transfers) + len(self._ready)

    @property
    def kv_tokens(self) -> float:
        """Return the tokens in the KV cache."""
        prefilling = 0 if self._prefilling is None else self._prefilling.prompt_tokens
        return prefilling + self._resident()

    def generated_for(self, job: Job) -> int:
        """Return how many tokens of a job are out."""
        if math.isnan(job.first_token):
            return 0
        if not math.isnan(job.done):
            return job.output_tokens
        left = 0.0 if math.isnan(job.end) else job.end - self._virtual
        return max(1, min(job.output_tokens, math.floor(job.output_tokens - left)))

    # What happens -----------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Take a request over; call `advance` up to its arrival before."""
        if job.work is Work.DECODE:
            moved = job.arrival + self.performance.kv_transfer_seconds_per_token * job.prompt_tokens
            self._transfers.append((moved, job))
        else:
            self._prompts.append(job)
        self._start()

    def abort(self, job: Job) -> None:
        """Forget a request whose client went away; call `advance` before."""
        if job is self._prefilling:
            self._prefilling, self._prefill_end = None, math.inf
        self._transfers = [entry for entry in self._transfers if entry[1] is not job]
        for held in (self._prompts, self._ready, self._batch):
            if job in held:
                held.remove(job)
        self._start()

    def next_event(self) -> float:
        """Return when something happens next, if nobody comes; infinity if nothing will."""
        times = [self._prefill_end, *(moved for moved, _ in self._transfers)]
        if self._batch and self._prefilling is None:
            ahead = max(0.0, min(job.end for job in self._batch) - self._virtual)
            rate, growth = self._rate(), self._growth()
            times.append(self._now + ahead * (1.0 / rate + growth * ahead / 2.0))
        return min(times)

    def advance(self, now: float) -> Passed:
        """Let time pass until ``now``, and return what was reached since the last call."""
        while (event := self.next_event()) <= now:
            self._settle(event)
            self._handle()
        self._settle(now)
        passed, self._passed = self._passed, Passed()
        return passed

    def _handle(self) -> None:
        """Handle what is due at the time reached."""
        if self._prefilling is not None and self._prefill_end <= self._now:
            self._end_prefill(self._prefilling)
        for entry in [entry for entry in self._transfers if entry[0] <= self._now]:
            self._transfers.remove(entry)
            self._ready.append(entry[1])
        if self._prefilling is None:
            # An end may be missed by rounding; what is left of it is less than a millionth of a token.
            for job in [job for job in self._batch if job.end - self._virtual < 1e-6]:
                self._batch.remove(job)
                job.done = self._now
                self._passed.done.append(job)
        self._start()

    def _end_prefill(self, job: Job) -> None:
        self._prefilling, self._prefill_end = None, math.inf
        job.first_token = self._now
        self.generated += 1
        self._passed.first_token.append(job)
        if job.work is Work.PREFILL or job.output_tokens <= 1:
            job.done = self._now
            self._passed.done.append(job)
            return
        self._ready.appendleft(job)

    def _start(self) -> None:
        """Let begin whatever there is room for."""
        while self._ready and self._fits(self._ready[0]):
            job = self._ready.popleft()
            left = job.output_tokens
            if job.work is Work.DECODE:
                job.started = job.first_token = self._now
                self._passed.first_token.append(job)
            else:
                left -= 1
            job.end = self._virtual + left
            self._batch.append(job)
        if self._prefilling is None and self._prompts and self._takes(self._prompts[0]):
            job = self._prompts.popleft()
            job.started = self._now
            self._prefilling = job
            self._prefill_end = self._now + self.performance.prefill_seconds(job.prompt_tokens)

    def _takes(self, job: Job) -> bool:
        """Whether a prefill may begin: where it is decoded here as well, there must be a place for it."""
        return job.work is Work.PREFILL or (not self._ready and self._fits(job))

    def _fits(self, job: Job) -> bool:
        """Whether the batch takes one more; an empty one takes anything, or it would wait for ever."""
        if not self._batch:
            return True
        room = self.performance.kv_capacity_tokens - self._resident()
        return len(self._batch) < self.performance.max_batch and job.prompt_tokens + job.output_tokens <= room

    def _settle(self, now: float) -> None:
        elapsed = now - self._now
        if elapsed <= 0:
            return
        self._now = now
        if self._batch and self._prefilling is None:
            gained = _tokens_gained(elapsed, self._rate(), self._growth())
            self._virtual += gained
            self.generated += gained * len(self._batch)

    def _resident(self) -> float:
        """Return the KV tokens of the running sequences: their prompts and what they have been given."""
        return sum(
            job.prompt_tokens + job.output_tokens - max(0.0, job.end - self._virtual) for job in self._batch
        )

    def _rate(self) -> float:
        return 1.0 / self.performance.decode_step_seconds(len(self._batch), self._resident())

    def _growth(self) -> float:
        return self.performance.decode_seconds_per_kv_token * len(self._batch)


def _tokens_gained(elapsed: float, rate: float, growth: float) -> float:
    """Return the tokens per sequence after ``elapsed`` seconds that begin at ``rate``.

    As in `forebay.offline.simulation.slot_physics`, whose compiled function Python cannot call: each token stays
    in the KV cache and makes the next step longer by ``growth``.
    """
    return 2.0 * elapsed * rate / (1.0 + math.sqrt(1.0 + 2.0 * growth * elapsed * rate * rate))
