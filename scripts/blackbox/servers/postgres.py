"""PostgreSQL server of a fault suite, in a temporary folder."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blackbox.clients import postgres
from blackbox.paths import ROOT

SCRIPT = ROOT / "crates/testkit/src/postgres.sh"  # runs the server until its standard input is closed
PASSWORD = "postgres"


def programs() -> Path | None:
    """Returns the folder of initdb and pg_ctl, or None."""
    found = next((folder for folder in folders() if (folder / "initdb").exists()), None)
    return found if found and (found / "pg_ctl").exists() else None


def folders() -> Iterator[Path]:
    """Yields the folders that may have the programs of the server."""
    if given := os.environ.get("PG_BINDIR"):
        yield Path(given)
    if config := shutil.which("pg_config"):
        yield Path(subprocess.check_output([config, "--bindir"], text=True).strip())
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


class Postgres:
    """Server on a free port; stopped and started by orders."""

    def __init__(self, folder: Path, options: str = "") -> None:
        """Starts a server with the programs of this folder and more options than those of tests."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        data = Path(tempfile.mkdtemp(prefix="jangteo-postgres-"))  # the script removes the folder
        (data / "password").write_text(PASSWORD)
        user = None
        if os.geteuid() == 0:  # the server refuses root
            user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
            for path in (data, data / "password"):
                shutil.chown(path, user)
        self.process = subprocess.Popen(
            ["sh", str(SCRIPT), str(data), str(folder), str(self.port), options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            start_new_session=True,
        )
        self.await_line("ready")

    def await_line(self, expected: str) -> None:
        """Waits for a line of the script."""
        assert self.process.stdout
        if not any(line.strip() == expected for line in iter(self.process.stdout.readline, "")):
            raise SystemExit("PostgreSQL ended")

    def order(self, word: str) -> None:
        """Sends the order `stop` or `start` and waits until it is done."""
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        self.await_line("done")

    def url(self) -> str:
        """Returns the URL of the only database."""
        return f"postgres://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def version(self) -> str:
        """Returns the version of the server."""
        return str(postgres.rows(self.port, "postgres", PASSWORD, "postgres", "SHOW server_version")[0][0])

    def execute(self, sql: str) -> None:
        """Executes a statement. Raises postgres.Refused."""
        postgres.rows(self.port, "postgres", PASSWORD, "postgres", sql)

    def end(self) -> None:
        """Ends the server and removes the data."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)
