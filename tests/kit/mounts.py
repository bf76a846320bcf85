"""Full and read-only disks: real mounts, visible only to the programs that a test starts with them."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

_UNSHARE = ("unshare", "-m", "--propagation", "private")
"""The mounts of such a process are private to it and end with it."""


@cache
def why_no_mounts() -> str:
    """Return why this process cannot mount, or an empty string."""
    if os.geteuid() != 0:
        return "only root may mount"
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return "needs unshare and mount"
    tried = subprocess.run([*_UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"mounting is not allowed here: {tried.stderr.strip()}"


def read_only(folder: Path) -> tuple[str, ...]:
    """Return a command prefix that makes `folder` read-only; skip the test where mounting is not allowed."""
    if why_no_mounts():
        pytest.skip(why_no_mounts())
    return (*_UNSHARE, "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"', str(folder))


def full_disk(folder: Path) -> tuple[str, ...]:
    """Return a command prefix that moves `folder` to a disk of 1 MB, filled up by the file `filler`."""
    if why_no_mounts():
        pytest.skip(why_no_mounts())
    script = (
        'mount -t tmpfs -o size=1m,mode=0700 none /mnt && cp -a "$0"/. /mnt && mount --move /mnt "$0" && '
        '{ cat /dev/zero > "$0/filler" 2>/dev/null; exec "$@"; }'
    )
    return (*_UNSHARE, "sh", "-c", script, str(folder))
