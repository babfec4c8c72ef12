"""File systems of a test's own: a loop-mounted image in a mount namespace that ends with the process.

The image file holds what the file system has handed to its disk, and nothing of what only lies in the page cache. So a copy
of it, taken while everything is stopped, is what a loss of power would leave.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

INSIDE = "NARTHEX_MOUNT_NAMESPACE"


def may_mount():
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        script = (f"truncate -s 16M {folder}/image && mkfs.ext4 -q {folder}/image && mkdir {folder}/m && "
                  f"mount -o loop {folder}/image {folder}/m")
        return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True).returncode == 0


def enter():
    """Runs this program again in a mount namespace of its own; where that is not allowed it skips, loudly."""
    if os.environ.get(INSIDE):
        return
    if not may_mount():
        print("SKIPPED: this machine allows no loop mounts (root and loop devices are needed)", file=sys.stderr)
        sys.exit(0)
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, "-B", "-W", "ignore", *sys.argv])


class Disk:
    """An ext4 at `path`."""

    def __init__(self, size_mib, options="loop"):
        self.options = options
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-disk-"))
        self.folder.chmod(0o755)
        self.path = self.folder / "disk"
        self.path.mkdir()
        self.image = self.folder / "image0"
        self.generation = 0
        subprocess.run(["truncate", "-s", f"{size_mib}M", self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image], check=True)
        self.mount()
        self.path.chmod(0o755)

    def mount(self):
        subprocess.run(["mount", "-o", self.options, self.image, self.path], check=True)

    def unmount(self):
        subprocess.run(["umount", "-l", self.path], check=False)

    def snapshot(self):
        """What the disk has of it, at this moment. Stop who writes before."""
        self.generation += 1
        copy = self.folder / f"image{self.generation}"
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        return copy

    def become(self, copy):
        """Goes on with a snapshot. Nobody may use the disk any more."""
        self.unmount()
        self.image.unlink()
        self.image = copy
        self.mount()

    def remove(self):
        self.unmount()
        shutil.rmtree(self.folder, ignore_errors=True)
