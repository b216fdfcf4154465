"""Test ids do not depend on the environment. pytest-xdist requires that all workers collect the same tests."""

import os
import subprocess
import sys

import pytest

from tools.local.process import ROOT

COLLECT = """
import sys, time
import pytest
now, ahead = time.time, int(sys.argv[1])
time.time = lambda: now() + ahead
time.time_ns = lambda: int(time.time() * 1e9)
sys.exit(pytest.main(["--collect-only", "-q"]))
"""


@pytest.mark.soak
def test_test_ids_depend_on_neither_time_nor_hash_order() -> None:
    collecting = [
        subprocess.Popen(
            [sys.executable, "-c", COLLECT, seconds],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed, "TZ": zone},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for seconds, seed, zone in (("0", "1", "UTC"), ("100001", "2", "Asia/Tokyo"))
    ]
    first, second = (
        [line for line in process.communicate(timeout=110)[0].decode().splitlines() if "::" in line]
        for process in collecting
    )
    assert len(first) > 1000
    assert first == second
