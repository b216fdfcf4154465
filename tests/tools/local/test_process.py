"""Log files: they are rotated while processes write them."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.tools.local.fakes import part
from tools.local.part import Part, RunningPart
from tools.local.process import MAX_BYTES, MAX_FILES, Command, RotatingFile, run_to_end

WRITES_100_MB = "import sys; [sys.stdout.write('x' * 99_999 + '\\n') for _ in range(1_000)]"


def test_log_of_a_part_that_writes_100_mb_is_bounded(tmp_path: Path) -> None:
    code = f"{WRITES_100_MB}; print('the end', flush=True); import time; time.sleep(60)"

    async def is_written() -> bool:
        return (tmp_path / "service.log").read_bytes().endswith(b"the end\n")

    async def main() -> None:
        server = Part(name="service", command=part("service", code=code).command, ready=is_written)
        async with RunningPart(server, tmp_path):
            pass

    asyncio.run(main())
    files = list(tmp_path.glob("service.log*"))
    assert len(files) == MAX_FILES
    assert all(file.stat().st_size <= MAX_BYTES + 100_000 for file in files)


def test_log_of_a_step_that_writes_100_mb_is_bounded(tmp_path: Path) -> None:
    command = Command(argv=(sys.executable, "-S", "-c", WRITES_100_MB))
    asyncio.run(run_to_end("step", command, tmp_path / "step.log"))
    assert sum(file.stat().st_size for file in tmp_path.glob("step.log*")) <= MAX_FILES * (MAX_BYTES + 100_000)


def test_rotation_splits_no_line_and_deletes_the_oldest_file(tmp_path: Path) -> None:
    log = RotatingFile(tmp_path / "a.log", max_bytes=100, max_files=3)
    for number in range(100):
        log.write(b"line %d\nsecond " % number)
    log.close()
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["a.log", "a.log.1", "a.log.2"]
    assert (tmp_path / "a.log.1").read_bytes().endswith(b"\n")
    assert b"line 99\n" in (tmp_path / "a.log").read_bytes()
    assert not any(b"line 1\n" in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_output_is_dropped_and_counted_while_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.symlink_to("/dev/full")
    log = RotatingFile(path)
    log.write(b"lost\n")
    path.unlink()
    log.write(b"kept\n")
    log.close()
    assert path.read_bytes() == b"[5 bytes of this log could not be written]\nkept\n"


def test_standard_output_can_have_its_own_log(tmp_path: Path) -> None:
    code = "import sys, time; print('out', flush=True); print('err', file=sys.stderr, flush=True); time.sleep(60)"

    async def is_written() -> bool:
        return all((tmp_path / name).stat().st_size for name in ("service.log", "access.log"))

    async def main() -> None:
        server = Part(name="service", command=part("", code=code).command, ready=is_written, output="access")
        async with RunningPart(server, tmp_path):
            pass

    asyncio.run(main())
    assert (tmp_path / "access.log").read_text() == "out\n"
    assert (tmp_path / "service.log").read_text() == "err\n"
