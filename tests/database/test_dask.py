"""A Dask cluster runs jobs: its workers get bytes and give back bytes, and one of them may die."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import sampledb
from tests import binaries
from tests.workers.processes import HANGS

distributed = pytest.importorskip("distributed")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no signals")
def test_a_cluster_does_all_jobs_though_a_worker_is_killed(tmp_path: Path) -> None:
    contents = [binaries.launcher(name).read_bytes() for name in ("t32", "t64", "w32", "w64", "t64-arm", "w64-arm")]
    contents += [content + b"\0" for content in contents]
    with (
        sampledb.open(tmp_path / "test.sampledb") as db,
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        ids = [db.submit_binary(content) for content in contents]
        killed: list[int] = []

        def kill_one() -> None:
            while not db.list_jobs("finished"):
                time.sleep(0.02)
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

        assassin = threading.Thread(target=kill_one, daemon=True)
        assassin.start()
        ended = db.run_jobs(client.get_executor())
        assassin.join(HANGS)
        assert killed
        assert {job.job_id for job in ended} == set(ids)
        assert {job.state for job in ended} == {"finished"}
        assert len(db.list_samples()) == len(contents)
        assert db.check(deep=True) == []
