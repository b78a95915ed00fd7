"""Disk of a server that can be filled."""

import errno
import os
import resource
import subprocess
from pathlib import Path

from blackbox.servers.process import Server

SPARE = (256 << 10, 1 << 20, 4 << 20)  # bytes left free; more at each attempt, for the server writes meanwhile


class Disk:
    """Small file system mounted on a folder, or else a limit of file sizes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mounted, self.ballast = folder, False, folder / "ballast"
        if os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(folder)]
            self.mounted = subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0
        self.kind = "a small file system" if self.mounted else "a limit on file sizes (RLIMIT_FSIZE)"

    def fill(self, server: Server) -> None:
        """Leaves no room for the server's next writes; again, if the server made room."""
        if not self.mounted:
            largest = max(entry.stat().st_size for entry in os.scandir(self.folder / "data"))
            self.limit(server, largest + SPARE[0])
            return
        for spare in SPARE:
            free = os.statvfs(self.folder)
            try:
                with self.ballast.open("ab") as ballast:
                    if (room := free.f_bavail * free.f_frsize - spare) > 0:
                        os.posix_fallocate(ballast.fileno(), ballast.tell(), room)
                return
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def relieve(self, server: Server) -> None:
        """Gives the room back."""
        if self.mounted:
            self.ballast.unlink()
        else:
            self.limit(server, resource.RLIM_INFINITY)

    def limit(self, server: Server, size: int) -> None:
        """Sets the largest file size of a running server, which ignores SIGXFSZ."""
        resource.prlimit(server.child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def remove(self) -> None:
        """Unmounts the file system."""
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=False)
