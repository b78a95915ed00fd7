"""Schedules sections of checks side by side, and reports the result and the time of each check."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LINES_SHOWN = 80  # of a failed check's log
LIMIT = 30 * 60  # seconds for a command: what hangs must not take the report with it

# Share of the machine that a section needs. A light section waits for the network or takes a moment.
LIGHT, NORMAL, HEAVY = 0, 1, 2
CAPACITY = 2


Word = str | Path  # of a command line


class Missing(Exception):
    """A need of the suite that is neither there nor to be installed."""


class Stopped(Exception):
    """The run ends early; no further command starts."""


def signal_all(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Sends a signal to a process and to all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def end(process: subprocess.Popen[bytes]) -> int:
    signal_all(process, signal.SIGTERM)
    try:
        return process.wait(30)
    except subprocess.TimeoutExpired:
        signal_all(process, signal.SIGKILL)
        return process.wait()


@dataclass(frozen=True)
class Section:
    """Checks that run one after the other, because they share a server or build on each other."""

    name: str
    group: str
    run: Callable[[Runner], None]
    weight: int = NORMAL
    after: tuple[str, ...] = ()  # sections that end first; a section outside the selection does not count


@dataclass(frozen=True)
class Result:
    name: str
    passed: int
    failed: int
    seconds: float

    def __str__(self) -> str:
        mark = "FAILED" if self.failed else "ok"
        return f"  {mark:<6} {self.passed:5} passed {self.failed:4} failed {self.seconds:6.0f} s  {self.name}"


@dataclass
class Runner:
    """State of a run: folders, results, running commands."""

    target: Path
    in_ci: bool
    results: list[Result] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stopped: bool = False
    installing: threading.Lock = field(default_factory=threading.Lock)  # of Debian packages

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.logs = self.target / "test-logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.temp = Path(tempfile.mkdtemp(prefix="jangteo-test-"))
        self.temp.chmod(0o755)  # servers that root starts run as another user
        self.env = {**os.environ, "CARGO_TARGET_DIR": str(self.target), "PYTHONPATH": str(ROOT / "scripts")}

    # ---- commands

    def say(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)

    def start(
        self,
        command: Sequence[Word],
        *,
        log: Path,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        stdout: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a command; its output goes to `log`, or standard output alone to `stdout`."""
        with open(log, "ab") as errors, open(stdout or log, "ab") as output, self._lock:
            if self._stopped:
                raise Stopped
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env={**self.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,  # so that it ends with all that it started
            )
            self._running.add(process)
        return process

    def wait(self, process: subprocess.Popen[bytes], seconds: float = LIMIT) -> int:
        """Returns the exit code; ends a process that takes longer than `seconds`, with all that it started."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.say(f"ended after {seconds:.0f} s: {process.args!r}")
            return end(process)
        finally:
            with self._lock:
                self._running.discard(process)

    def log_of(self, name: str) -> Path:
        """An empty log for a check of this name."""
        log = self.logs / f"{name.replace(' ', '-').replace('/', '-')}.log"
        log.write_bytes(b"")
        return log

    def check(
        self, name: str, *command: Word, cwd: Path = ROOT, env: Mapping[str, str] | None = None, seconds: float = LIMIT
    ) -> bool:
        """Runs a command as one check. Prints the end of its log if it fails."""
        began, log = time.monotonic(), self.log_of(name)
        status = self.wait(self.start(command, log=log, cwd=cwd, env=env), seconds)
        if status:
            self.show(log)
        self.record(name, int(status == 0), int(status != 0), began)
        return status == 0

    def count(self, name: str, *command: Word, seconds: float = LIMIT) -> None:
        """Runs a command whose last line is `N passed, N failed`; each of them counts."""
        began, log = time.monotonic(), self.log_of(name)
        status = self.wait(self.start(command, log=log), seconds)
        counts = re.findall(r"^(\d+) passed, (\d+) failed$", log.read_text(errors="replace"), re.M)
        passed, failed = map(int, counts[-1]) if counts else (0, 0)
        failed = failed or int(status != 0)
        if failed:
            self.show(log)
        self.record(name, passed, failed, began)

    def call(self, name: str, check: Callable[[], object]) -> bool:
        """Runs a function as one check, which fails with an exception."""
        began = time.monotonic()
        try:
            check()
        except Stopped:
            raise
        except Exception as error:
            self.say(f"{name}: {error}")
            self.record(name, 0, 1, began)
            return False
        self.record(name, 1, 0, began)
        return True

    # ---- results

    def record(self, name: str, passed: int, failed: int, began: float) -> None:
        """Notes a result. A check that counts nothing has failed."""
        result = Result(name, passed, failed if passed or failed else 1, time.monotonic() - began)
        with self._lock:
            self.results.append(result)
        self.say(str(result))

    def show(self, log: Path) -> None:
        lines = log.read_text(errors="replace").splitlines()[-LINES_SHOWN:]
        self.say("\n".join([*lines, f"(the whole log: {log})"]))

    def not_run(self, name: str, advice: str) -> None:
        """Notes a check whose need is missing on this machine; in CI the check has failed."""
        if self.in_ci:
            self.say(advice)
            self.record(name, 0, 1, time.monotonic())
        else:
            self.left_out.append(f"  not run: {name}. {advice}")
            self.say(self.left_out[-1])

    # ---- the run

    def run(self, sections: Sequence[Section]) -> None:
        """Runs the sections, in their order, as many side by side as the machine has room for."""
        waiting, names = list(sections), {section.name for section in sections}
        active: dict[Future[None], Section] = {}
        with ThreadPoolExecutor(max_workers=max(1, len(waiting))) as pool:
            try:
                while waiting or active:
                    unfinished = {section.name for section in (*waiting, *active.values())} & names
                    for section in list(waiting):
                        used = sum(other.weight for other in active.values())
                        blocked = unfinished & set(section.after)
                        if not blocked and (section.weight == LIGHT or used + section.weight <= CAPACITY):
                            waiting.remove(section)
                            active[pool.submit(self._run_section, section)] = section
                    done, _ = wait(active, return_when=FIRST_COMPLETED)
                    for future in done:
                        del active[future]
                        future.result()
            except BaseException:
                self.stop()
                raise

    def _run_section(self, section: Section) -> None:
        began = time.monotonic()
        try:
            section.run(self)
        except Stopped:
            pass
        except Missing:
            raise
        except Exception as error:  # a fault of the suite itself is a failed check
            self.say(f"{section.name}: {error!r}")
            self.record(section.name, 0, 1, began)

    def stop(self) -> None:
        """Ends all running commands."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            signal_all(process, signal.SIGTERM)

    def close(self) -> None:
        self.stop()
        for process in list(self._running):
            self.wait(process, 30)
        shutil.rmtree(self.temp, ignore_errors=True)

    def report(self) -> int:
        """Prints all results with their times. The last line is `N passed, N failed`."""
        passed = sum(result.passed for result in self.results)
        failed = sum(result.failed for result in self.results)
        minutes, seconds = divmod(round(time.monotonic() - self.began), 60)
        lines = [
            "",
            *map(str, self.results),
            *self.left_out,
            f"in {minutes} min {seconds} s",
            f"{passed} passed, {failed} failed",
        ]
        self.say("\n".join(lines))
        sys.stdout.flush()
        return int(failed > 0)
