"""A backend's inside: `workers` servers behind one FIFO queue, in whatever time the caller keeps.

Pure, so that the arithmetic can be held against queueing theory in virtual time. The caller (the
server in `backend_process`, or a test) owns the clock and the timers: it is told when a job will
finish and says so when that moment has come.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Who = TypeVar("Who")

MAX_QUEUE = 10_000
"""Jobs that wait. Beyond, a job is refused: no backend queues without a bound."""


class Job(Generic[Who]):
    """One request in a station. `work_s` is what it takes at speed 1."""

    __slots__ = ("arrived_s", "dropped", "finish_s", "started_s", "who", "work_s")

    def __init__(self, work_s: float, who: Who) -> None:
        self.work_s = work_s
        self.who = who
        self.arrived_s = 0.0
        self.started_s = 0.0
        self.finish_s = 0.0
        self.dropped = False
        """Its client went away: it leaves the queue without being served."""


class Station(Generic[Who]):
    """`workers` servers of one speed and a FIFO queue."""

    def __init__(self, workers: int, speed: float) -> None:
        if workers < 1 or speed <= 0:
            raise ValueError(f"want at least one worker and a speed above 0: {workers}, {speed}")
        self.workers = workers
        self.speed = speed
        self.slowdown = 1.0
        """Jobs that start now take this times as long."""
        self.serving: set[Job[Who]] = set()
        self._queue: deque[Job[Who]] = deque()
        self._dropped = 0
        self._paused_until_s = float("-inf")

    @property
    def queued(self) -> int:
        """Jobs that wait for a worker."""
        return len(self._queue) - self._dropped

    def arrive(self, job: Job[Who], now_s: float) -> bool | None:
        """True: started, and `finish_s` is set. False: queued. None: refused, the queue is full."""
        job.arrived_s = now_s
        if len(self.serving) < self.workers:
            self._start(job, now_s)
            return True
        if len(self._queue) >= MAX_QUEUE:
            return None
        self._queue.append(job)
        return False

    def finish(self, job: Job[Who], now_s: float) -> Job[Who] | None:
        """The job is done. Returns the one that starts in its place, if any waits."""
        self.serving.remove(job)
        while self._queue:
            following = self._queue.popleft()
            if following.dropped:
                self._dropped -= 1
                continue
            self._start(following, now_s)
            return following
        return None

    def drop(self, job: Job[Who]) -> None:
        """The client of a waiting job went away. A job in service is served to its end."""
        if job not in self.serving and not job.dropped:
            job.dropped = True
            self._dropped += 1

    def pause(self, now_s: float, duration_s: float) -> None:
        """Nothing moves for a while: what is in service takes that much longer."""
        self._paused_until_s = max(self._paused_until_s, now_s + duration_s)
        for job in self.serving:
            job.finish_s += duration_s

    def _start(self, job: Job[Who], now_s: float) -> None:
        job.started_s = max(now_s, self._paused_until_s)
        job.finish_s = job.started_s + job.work_s * self.slowdown / self.speed
        self.serving.add(job)
