"""A real small disk below a running sweep: full, and read-only after a fault of its own."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from tests.e2e.faults.figures import Figures
from tests.e2e.faults.scene import SLOW, Scene, lost
from tests.waiting import wait_for

MIB = 1024 * 1024
END_SECONDS = 30.0


class Disk:
    """An ext4 file system in a file, mounted at `mount`; needs root."""

    def __init__(self, folder: Path) -> None:
        self._image, self.mount = folder / "disk.img", folder / "disk"

    def __enter__(self) -> Self:
        """Make and mount it.

        Raises:
            PermissionError: nothing may be mounted here.
        """
        self.mount.mkdir()
        with self._image.open("wb") as image:
            image.truncate(16 * MIB)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        wait_for(self._unmounted)  # a process that was killed may still be ending

    def _unmounted(self) -> bool:
        try:
            _run("umount", str(self.mount))
        except PermissionError:
            return False
        return True

    def fill(self) -> None:
        """Leave not a byte free."""
        with (self.mount / "filler").open("wb", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def empty(self) -> None:
        """Free what `fill` took."""
        (self.mount / "filler").unlink()

    def fault(self) -> None:
        """Let the kernel find an error: it makes the file system read-only, open files too.

        What it has not written by then is lost, as at a power cut; so it writes everything first.
        """
        _run("sync", "-f", str(self.mount))
        found = _run("findmnt", "-n", "-o", "SOURCE", str(self.mount)).strip()
        Path(f"/sys/fs/ext4/{Path(found).name}/trigger_fs_error").write_text("a fault test")

    def mend(self) -> None:
        """Mount it anew."""
        wait_for(self._unmounted)
        _run("e2fsck", "-p", "-f", str(self._image), accepted=(0, 1))  # 1: it has mended something
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.mount))


@contextmanager
def sweep_on_a_disk(folder: Path) -> Iterator[tuple[Scene, Disk]]:
    """A scene whose study DB has a disk of its own.

    Raises:
        PermissionError: nothing may be mounted here.
    """
    with Disk(folder) as disk, Scene(folder, f"sqlite:///{disk.mount}/sweeps.db") as scene:
        yield scene, disk


Fault = Callable[[Scene, Disk, random.Random, int], Figures]


def full(scene: Scene, disk: Disk, dice: random.Random, workers: int) -> Figures:
    """Fill the disk below a running sweep."""
    return _strike(scene, dice, workers, "disk full", "full", disk.fill, disk.empty)


def read_only(scene: Scene, disk: Disk, dice: random.Random, workers: int) -> Figures:
    """Let the disk below a running sweep become read-only."""
    mend = partial(_mend, scene, disk)
    return _strike(scene, dice, workers, "read-only disk", "disk I/O error", disk.fault, mend)


def _strike(
    scene: Scene,
    dice: random.Random,
    workers: int,
    fault: str,
    words: str,
    strike: Callable[[], None],
    mend: Callable[[], None],
) -> Figures:
    """Strike, see the sweep end with a clear error; mend, check, and run the same command again."""
    budget = 6 + 2 * workers
    scene.write(SLOW, budget)
    with scene.figures(f"{fault} below a running sweep", 1) as figures:
        figures.wanted = budget
        run = scene.sweep(workers, 2.0)
        wait_for(lambda: len(scene.ended()) >= 1 + workers)
        time.sleep(dice.random() * 0.5)
        before, start = scene.ended(), time.monotonic()
        strike()
        said, _ = run.communicate(timeout=120)
        seconds = time.monotonic() - start
        figures.check("exit code 1", holds=run.returncode == 1)
        figures.check("within 30 s", holds=seconds <= END_SECONDS)
        clear = any(line.startswith("Error: ") and words in line for line in said.splitlines())
        figures.check("one clear line", holds=clear and "Traceback" not in said)
        figures.seen[f"ended after {seconds:.0f} s"] += 1
        mend()
        code, _ = scene.run("storage", "check")
        figures.check("check", holds=code == 0)
        figures.lost += lost(before, scene.ended())
        again = scene.sweep(workers, 2.0)
        again.communicate(timeout=400)
        figures.check("same command again", holds=again.returncode == 0)
        figures.lost += lost(before, scene.ended())
    return figures


def _mend(scene: Scene, disk: Disk) -> None:
    scene.close()  # its open files would keep the disk busy
    disk.mend()


def _run(*command: str, accepted: Collection[int] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in accepted:
        raise PermissionError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def mounts() -> bool:
    """Whether this process may mount a disk image."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists()
