"""Mining on a cluster of two nodes on this machine, one of which loses a worker, and then itself, halfway."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from lakes import recorded

from overround.cli.app import root
from overround.errors import StorageError
from overround.pipelines.mine import MinedDays, mine_days
from overround.pipelines.mine_hour import HourMined, HourTask
from overround.storage import LakePaths

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.xdist_group("ray")]
DAY = "2026-01-14"
WAIT_S = 60.0
NODE = {"num_cpus": 1, "include_dashboard": False, "node_ip_address": "127.0.0.1", "object_store_memory": 100_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node of one processor in processes of its own, on loopback; a test adds another."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray: the group `cluster` is not installed")
    before = dict(os.environ)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    # Or else a loopback address is taken for one of the machine's others, on which nothing listens.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        yield made
    finally:
        made.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
async def lake(tmp_path: Path) -> LakePaths:
    """Five hours of one market."""
    return await recorded(tmp_path / "data", bucket_s=1800, minutes=300)


def same(one: MinedDays, other: MinedDays) -> None:
    forget = {"took_ms": 0, "n_kept": 0, "cost": None}
    assert dataclasses.replace(one.result, **forget) == dataclasses.replace(other.result, **forget)  # type: ignore[arg-type]
    assert one.stats.equals(other.stats)
    assert one.blocks.equals(other.blocks)


def until(what: Callable[[], Any]) -> Any:
    """Wait for a condition, bounded."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


def work_that_waits(folder: Path) -> Callable[[HourTask], HourMined]:
    """Work that tells who does it and waits for a sign; made here so that it travels as it is."""

    def work(task: HourTask) -> HourMined:
        import os
        import time

        import ray

        from overround.pipelines.mine_hour import mine_hour

        node = ray.get_runtime_context().get_node_id()
        (folder / f"{task.hour}.{os.getpid()}.{node}").touch()
        end = time.monotonic() + 60
        while not (folder / "go").exists() and time.monotonic() < end:
            time.sleep(0.02)
        return mine_hour(task)

    return work


@pytest.fixture
def second(cluster: Any) -> Iterator[Any]:
    """Another node like the first."""
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node)


def test_a_killed_worker_and_a_killed_node_change_nothing(
    cluster: Any, second: Any, lake: LakePaths, tmp_path: Path
) -> None:
    import ray

    from overround.pipelines.on_ray import RayEngine

    folder = tmp_path / "at_work"
    folder.mkdir()
    broken: list[BaseException] = []

    def harm() -> None:
        try:
            at_work = until(lambda: found if len(found := sorted(folder.glob("*.*.*"))) == 2 else None)
            by_node = {path.name.split(".")[2]: int(path.name.split(".")[1]) for path in at_work}
            assert len(by_node) == 2, "each node has a task"
            (head,) = (node["NodeID"] for node in ray.nodes() if "node:__internal_head__" in node["Resources"])
            os.kill(by_node[head], signal.SIGKILL)
            cluster.remove_node(second, allow_graceful=False)
        except BaseException as exc:  # noqa: BLE001 - handed to the test
            broken.append(exc)
        finally:
            (folder / "go").touch()

    seen: list[tuple[int, int]] = []
    thread = threading.Thread(target=harm)
    with RayEngine(cluster.address, work=work_that_waits(folder), on_progress=lambda *at: seen.append(at)) as engine:
        assert engine.cost.processors == 2
        thread.start()
        found = mine_days(lake, "kalshi", [DAY], engine=engine)
        cost = engine.cost
    thread.join()
    assert not broken
    assert cost.lost >= 2
    assert (cost.tasks, seen) == (5, [(number, 5) for number in range(1, 6)])
    assert min(cost.work_s, cost.took_s, cost.bytes_out, cost.bytes_back) > 0
    shutil.rmtree(lake.mined("kalshi", DAY))
    same(found, mine_days(lake, "kalshi", [DAY]))


def test_the_command_mines_on_the_cluster_and_says_what_it_cost(cluster: Any, lake: LakePaths) -> None:
    asked = ["mine", "--venue", "kalshi", "--date", DAY, "--data-dir", str(lake.root), "--engine", "ray"]
    done = CliRunner().invoke(root, asked, env={"OVERROUND_RAY__ADDRESS": cluster.address})
    assert done.exit_code == 0, done.output
    assert re.search(r"ray: 5 tasks on \d processors", done.stdout)
    assert "0 lost" in done.stdout


def test_an_error_of_ours_comes_back_as_it_is(cluster: Any, lake: LakePaths) -> None:
    from overround.pipelines.on_ray import RayEngine

    with RayEngine(cluster.address) as engine, pytest.raises(StorageError, match="hour=99") as raised:
        list(engine([HourTask(paths=lake, venue="kalshi", date=DAY, hour="99", gaps=pl.DataFrame())]))
    assert "one path" in str(raised.value.hint)
