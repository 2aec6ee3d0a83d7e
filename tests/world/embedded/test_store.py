"""The embedded cluster's file under several processes, sudden death, and rubbish."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from gitops.world.embedded.apiserver import ApiServer, open_embedded
from gitops.world.embedded.store import Key, Store
from gitops.world.kubernetes.cluster import ClusterError

APPLY = """
import sys, time
from pathlib import Path
from gitops.world.embedded.apiserver import open_embedded
cluster = open_embedded(Path(sys.argv[1]), [], 1.0)
print("ready", flush=True)
for index in range(int(sys.argv[3])):
    metadata = {"name": f"{sys.argv[2]}-{index}", "namespace": "default"}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}})
    print(index, flush=True)
"""


def start(path: Path, name: str, count: int) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", APPLY, str(path), name, str(count)]
    source = Path(__file__).parents[3] / "src"
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(source)})


def names(path: Path) -> list[str]:
    server = ApiServer(path, [], 1.0, time.time)
    items = orjson.loads(server.request("GET", "/api/v1/configmaps").body)["items"]
    server.close()
    versions = [item["metadata"]["resourceVersion"] for item in items]
    assert len(set(versions)) == len(versions)
    return [item["metadata"]["name"] for item in items]


def test_processes_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    workers = [start(path, f"worker-{index}", 50) for index in range(3)]
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    assert len(names(path)) == 150


def test_a_killed_process_leaves_every_finished_write(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    worker = start(path, "worker", 100_000)
    assert worker.stdout
    done = [worker.stdout.readline() for _ in range(30)]
    worker.kill()
    rest = worker.communicate()[0].split()
    finished = [int(line) for line in [*done[1:], *rest]]
    found = set(names(path))
    assert {f"worker-{index}" for index in finished} <= found
    assert len(found) <= len(finished) + 1


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    key = Key("configmaps.v1", "shop", "config")

    def fail() -> None:
        with store.transaction():
            store.put(key, {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with store.transaction():
        assert store.get(key) is None
    store.close()


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    path.write_text("this is no database, and long enough to be sure of that" * 100)
    with pytest.raises(ClusterError, match=r"cannot open the embedded cluster.*empty cluster"):
        open_embedded(path, [], 1.0)


def test_threads_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    cluster = open_embedded(path, [], 1.0)

    def apply(index: int) -> None:
        metadata = {"name": f"config-{index}", "namespace": "default"}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(apply, range(80)))
    cluster.close()
    assert len(names(path)) == 80
