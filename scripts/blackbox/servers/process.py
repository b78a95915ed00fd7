"""Server as a child process: started in its folder, killed or stopped."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from blackbox.clients.http import Gone, HttpClient


class Server(HttpClient):
    """Child process that prints the port on which it serves HTTP."""

    port_pattern: ClassVar[re.Pattern[bytes]]

    def __init__(self, binary: Path, folder: Path, env: Mapping[str, str]) -> None:
        super().__init__()
        self.binary, self.folder, self.env = binary.absolute(), folder, {**os.environ, **env}
        self.name, self.log = binary.name, folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def child(self) -> subprocess.Popen[bytes]:
        """Returns the process of the last start."""
        assert self.process, f"{self.name} was never started"
        return self.process

    def start(self) -> float:
        """Starts the process and returns the seconds until it is ready."""
        began, patience, self.port = time.monotonic(), 60, None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                restore_signals=False,  # SIGXFSZ stays ignored: a write beyond a file size limit fails (disk.py)
            )
        output = self.process.stdout
        assert output
        for line in output:
            if found := self.port_pattern.search(line):
                self.port = int(found[1])
                break
        if self.port is None:
            raise SystemExit(f"{self.name} did not start: {self.log_end()}")
        threading.Thread(target=output.read, daemon=True).start()
        while time.monotonic() - began < patience:
            if self.is_ready():
                return time.monotonic() - began
            time.sleep(0.02)
        raise SystemExit(f"{self.name} was not ready within {patience} s: {self.log_end()}")

    def is_ready(self) -> bool:
        """Returns true if the readiness probe succeeds."""
        try:
            return self.ask("GET", "/readyz").status == 200
        except Gone:
            return False

    def log_end(self) -> str:
        """Returns the end of the log."""
        return self.log.read_text(errors="replace")[-500:].strip()

    def alive(self) -> bool:
        """Returns true while the process runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kills the process."""
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        self.port = None  # another process may get it

    def stop(self) -> None:
        """Stops the process, and kills it after a minute."""
        if self.alive():
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
