"""A disk that can be full."""
import errno
import os
import resource
import signal
import subprocess


class Disk:
    """Room for a server's files, and a way to take it away: a small file system, or else a limit on file sizes."""

    def __init__(self, folder):
        self.folder, self.mounted = folder, False
        if os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", folder]
            self.mounted = subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0
        self.kind = "a small file system" if self.mounted else "a limit on file sizes (RLIMIT_FSIZE)"
        self.ballast = os.path.join(folder, "ballast")

    def prepare(self):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a full disk, and nobody is killed

    def fill(self, server):
        if self.mounted:
            for spare in (256 << 10, 1 << 20, 4 << 20):  # the server takes room meanwhile
                free = os.statvfs(self.folder)
                try:
                    with open(self.ballast, "wb") as ballast:
                        os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_frsize - spare)
                    return
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        else:
            largest = max(entry.stat().st_size for entry in os.scandir(os.path.join(self.folder, "data")))
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (largest + (256 << 10), resource.RLIM_INFINITY))

    def relieve(self, server):
        if self.mounted:
            os.remove(self.ballast)
        else:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", self.folder], check=False)
