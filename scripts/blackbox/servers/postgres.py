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
from blackbox.servers.command import run_program

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

    def __init__(self, folder: Path, options: str = "", primary: "Postgres | None" = None) -> None:
        """Starts a server with the programs of this folder and more options than those of tests; or a standby."""
        self.programs, self.database = folder, "postgres"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="jangteo-postgres-"))  # the script removes the folder
        (self.folder / "password").write_text(PASSWORD)
        self.user: str | None = None
        if os.geteuid() == 0:  # the server refuses root
            users = {entry.pw_name for entry in pwd.getpwall()}
            self.user = next(name for name in ("postgres", "nobody") if name in users)
            for path in (self.folder, self.folder / "password"):
                shutil.chown(path, self.user)
        command = ["sh", str(SCRIPT), str(self.folder), str(folder), str(self.port), options]
        self.process = subprocess.Popen(
            command + ([str(primary.port)] if primary else []),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            user=self.user,
            group=pwd.getpwnam(self.user).pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            start_new_session=True,
        )
        self.await_line("ready")

    def await_line(self, expected: str) -> None:
        """Waits for a line of the script."""
        assert self.process.stdout
        if not any(line.strip() == expected for line in iter(self.process.stdout.readline, "")):
            raise SystemExit("PostgreSQL ended")

    def order(self, word: str) -> None:
        """Sends the order `stop`, `start` or `promote` and waits until it is done."""
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        self.await_line("done")

    def url(self) -> str:
        """Returns the URL of the database."""
        return self.url_by(self.port)

    def url_by(self, port: int) -> str:
        """Returns the URL of the database by another port."""
        return f"postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{self.database}"

    def tool(self, name: str, *words: str) -> None:
        """Runs a program of PostgreSQL as the user of the server. Raises Failed."""
        run_program(str(self.programs / name), *words, env={"PGPASSWORD": PASSWORD}, patience=60, user=self.user)

    def version(self) -> str:
        """Returns the version of the server."""
        return str(self.rows("SHOW server_version")[0][0])

    def rows(self, sql: str, database: str | None = None) -> list[postgres.Row]:
        """Returns the rows of a query. Raises postgres.Refused."""
        return postgres.rows(self.port, "postgres", PASSWORD, database or self.database, sql)

    def execute(self, sql: str) -> None:
        """Executes a statement. Raises postgres.Refused."""
        self.rows(sql)

    def end(self) -> None:
        """Ends the server and removes the data."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)
