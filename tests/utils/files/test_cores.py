import pytest

from utils.files.cores import available_cores, bytes_of_limit, cores_of_quota, thread_count, worker_count


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"cpu.max": "50000 100000", "memory.max": "1073741824"}, 1, 1 << 30),
        ({"cpu.max": "250000 100000\n", "memory.max": "max"}, 3, None),
        ({"cpu.max": "max 100000"}, None, None),
        ({"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000", "memory.limit_in_bytes": str(2**31)}, 2, 2**31),
        ({"cpu.cfs_quota_us": "-1", "memory.limit_in_bytes": str(2**63 - 4096)}, None, None),
        ({}, None, None),
    ],
)  # fmt: skip
def test_quotas_of_both_versions_of_control_groups_count(tmp_path, files, cores, memory):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cores_of_quota(tmp_path) == cores and bytes_of_limit(tmp_path) == memory


@pytest.mark.parametrize(("files", "count"), [({"cpu.max": "100000 100000"}, 1), ({"memory.max": str(700 << 20)}, 1)])
def test_a_container_decides_how_many_processes_start_and_it_is_said_once(tmp_path, monkeypatch, capsys, files, count):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("utils.files.cores._groups", lambda: [tmp_path])
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    worker_count.cache_clear()
    assert worker_count() == worker_count() == count and available_cores() in (1, 64)
    assert capsys.readouterr().err.count("container") == 1
    worker_count.cache_clear()


@pytest.mark.parametrize(("wanted", "count"), [("", 8), ("1", 1), ("3,2", 3), ("64", 8), ("0", 8), ("many", 8)])
def test_a_number_of_threads_that_is_asked_for_is_an_upper_limit(monkeypatch, wanted, count):
    monkeypatch.setattr("utils.files.cores._groups", list)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert thread_count() == count
