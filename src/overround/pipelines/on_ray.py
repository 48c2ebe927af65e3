"""Mining on a Ray cluster: the same work for each hour as on this machine, wherever a processor is free.

Tasks and results travel as bytes that are counted. A task that was lost, because its process or its machine died, is given
out again; what it came to is a value, so it does not matter where, nor how often it was begun. Results are handed on in the
order of the tasks, which makes every sum the same as without a cluster.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import structlog

from overround import __version__
from overround.clock import Clock, SystemClock
from overround.errors import ClusterFailed, OverroundError, UsageError
from overround.pipelines.mine import EngineCost
from overround.pipelines.mine_hour import HourMined, HourTask, mine_hour
from overround.storage.objects import RemoteLake

__all__ = ["RayEngine"]

log = structlog.get_logger()

_TRIES = 4
_AHEAD = 2
"""Tasks given out for each processor, so that none waits for the next."""


class RayEngine:
    """Gives tasks to a cluster; made once for a run.

    Parameters
    ----------
    address : str
        Of a running cluster, ``host:port`` or ``ray://host:port``; empty starts one on this machine alone.
    on_progress : callable, optional
        ``on_progress(done, total)`` tasks.
    clock : Clock, optional
    work : callable
        What is done with a task.

    Attributes
    ----------
    cost : EngineCost
        What it came to so far.

    Raises
    ------
    UsageError
        If Ray is not installed.
    ClusterFailed
        If the cluster does not answer.
    """

    def __init__(
        self,
        address: str,
        *,
        on_progress: Callable[[int, int], None] | None = None,
        clock: Clock | None = None,
        work: Callable[[HourTask], HourMined] = mine_hour,
    ) -> None:
        # Whoever runs this under `uv run` wants the cluster's own environment, and nobody wants to be counted.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as exc:
            raise UsageError("--engine ray needs Ray", hint="pip install 'overround[ray]'") from exc
        self._ray: Any = ray
        self._clock, self._on_progress = clock or SystemClock(), on_progress
        self._began_ns = self._clock.monotonic_ns()
        here: dict[str, Any] = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            ray.init(
                address=address or "local",
                # Each task has one processor; read before polars is imported.
                runtime_env={"env_vars": {"POLARS_MAX_THREADS": "1"}},
                log_to_driver=False,
                logging_level=logging.ERROR,
                **here,
            )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as exc:
            raise ClusterFailed(
                f"no Ray cluster answers at {address!r}: {str(exc).splitlines()[0]}",
                hint="`ray start --head` starts one; `[ray] address` names it",
            ) from exc
        self._work = ray.remote(num_cpus=1, max_retries=0)(_done)
        self._do = work
        self._lost = (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.ObjectLostError,
            ray.exceptions.LocalRayletDiedError,
            ray.exceptions.OutOfMemoryError,
        )
        self.cost = EngineCost(engine="ray", processors=int(self._ray.cluster_resources().get("CPU", 1)))

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, tasks: Iterable[HourTask]) -> Iterator[HourMined]:
        """What the tasks found, in their order."""
        waiting = deque(self._packed(task) for task in tasks)
        total, done = len(waiting), 0
        running: deque[tuple[bytes, int, Any]] = deque()
        while waiting or running:
            while waiting and len(running) < _AHEAD * max(self.cost.processors, 1):
                task = waiting.popleft()
                running.append((task, 1, self._give(task)))
            task, tries, ref = running.popleft()
            try:
                answer, work_s = self._ray.get(ref)
            except self._lost as exc:
                if tries == _TRIES:
                    raise ClusterFailed(
                        f"a task was lost {tries} times: {str(exc).splitlines()[0]}",
                        hint="see the cluster's logs; `--engine local` mines here",
                    ) from exc
                log.warning("mine.task_lost", tries=tries, reason=type(exc).__name__)
                self._count(lost=1)
                running.appendleft((task, tries + 1, self._give(task)))
                continue
            except self._ray.exceptions.RayTaskError as exc:
                # An error of ours is as good as one raised here.
                raise (exc.cause if isinstance(exc.cause, OverroundError) else exc) from None
            done += 1
            self._count(tasks=1, work_s=work_s, bytes_back=len(answer))
            if self._on_progress is not None:
                self._on_progress(done, total)
            found: HourMined = pickle.loads(answer)  # noqa: S301 - made by our own code on the cluster
            yield found

    def _packed(self, task: HourTask) -> bytes:
        if isinstance(task.paths, RemoteLake):
            raise UsageError(
                f"--engine ray does not read {task.paths.root}", hint="name a folder that every node sees, or mine here"
            )
        return self._ray.cloudpickle.dumps((self._do, task))  # type: ignore[no-any-return]

    def _give(self, task: bytes) -> Any:
        self._count(bytes_out=len(task))
        return self._work.remote(task, __version__)

    def _count(
        self, *, tasks: int = 0, lost: int = 0, work_s: float = 0.0, bytes_out: int = 0, bytes_back: int = 0
    ) -> None:
        cost = self.cost
        self.cost = dataclasses.replace(
            cost,
            tasks=cost.tasks + tasks,
            lost=cost.lost + lost,
            took_s=(self._clock.monotonic_ns() - self._began_ns) / 1e9,
            work_s=cost.work_s + work_s,
            bytes_out=cost.bytes_out + bytes_out,
            bytes_back=cost.bytes_back + bytes_back,
        )


def _done(packed: bytes, version: str) -> tuple[bytes, float]:
    """Do one task, on whatever machine this is; also tells the processor's seconds."""
    if version != __version__:
        raise ClusterFailed(
            f"a node has overround {__version__}, this machine {version}", hint="install the same version on every node"
        )
    work, task = pickle.loads(packed)  # noqa: S301 - made by the driver
    began = time.process_time()
    found = work(task)
    return pickle.dumps(found), time.process_time() - began
