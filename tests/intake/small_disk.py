"""A disk of a few megabytes around one service, where this machine lets one be mounted."""

import errno
import shutil
import subprocess
from pathlib import Path

from tests.processes import until

_MOUNT = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
_INSIDE = ["unshare", "--mount", "sh", "-c", _MOUNT, "sh"]


def may_mount():
    """Whether these tests can have such a disk; what they show is shown by doubles, too."""
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        return False
    tried = [*_INSIDE, "size=1m", "/mnt", "true"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def on_small_disk(folder, *options):
    """A command around the service that gives it a disk of its own, gone with it."""
    folder.mkdir(exist_ok=True)
    return [*_INSIDE, ",".join(("mode=0700", *options)), str(folder)]


def seen_by(process, path):
    """A path as that process sees it."""
    return Path(f"/proc/{process.pid}/root{path}")


def remount(process, folder, how):
    """Make its disk read-only, or writable again, once no file there is about to go."""
    inside = ["nsenter", "--target", str(process.pid), "--mount"]
    command = [*inside, "mount", "-o", f"remount,{how}", folder]
    until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)


def fill_bytes(folder):
    """Take every byte that is left; the files that do."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            while _fits(lambda size=size: file.write(b" " * size)):
                pass
    return [folder / "filler"]


def fill_inodes(folder):
    """Take every file that may still be made."""
    made = [folder / "filler"]
    while _fits(made[-1].touch):
        made.append(folder / f"filler{len(made)}")
    return made[:-1]


def _fits(attempt):
    try:
        attempt()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True
