"""Run of a fault suite: a load, a fault in the middle of it, an audit; one row of a table for each fault."""

import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from blackbox.clients.http import Gone
from blackbox.clients.postgres import Refused
from blackbox.faults.table import Cell, Table
from blackbox.servers.command import Failed

Target = TypeVar("Target")

RECOVERY = 120  # seconds; maximum time of a recovery, far above a normal one


@dataclass(frozen=True)
class Options:
    """Options of the command line that suites share."""

    only: Sequence[str]  # faults to run; empty: all
    bin_dir: str | None
    short: bool
    keep: bool


@dataclass(frozen=True)
class Fault(Generic[Target]):
    """Fault of a suite: `inject` does the harm and repairs it."""

    title: str
    inject: Callable[[Target], None]


class Environment(Protocol):
    """Processes that a suite breaks."""

    folder: Path

    def up(self) -> None:
        """Starts all processes."""

    def errors(self) -> Iterable[str]:
        """Returns the lines of level ERROR in the logs."""

    def destroy(self, keep: bool) -> None:
        """Ends every process, and removes the folder unless `keep`."""


class Rounds(Protocol):
    """Rounds of a suite."""

    def prepare(self) -> None:
        """Prepares the load."""

    def round(self, name: str) -> tuple[list[Cell], list[str]]:
        """Injects a fault under load; returns the cells of the table but the last, and each violation."""


@dataclass(frozen=True)
class Suite:
    """Name, faults and columns of a suite."""

    name: str
    faults: Mapping[str, object]
    columns: Mapping[str, int]  # and their widths

    def run(self, environment: Environment, rounds: Rounds, options: Options, default: Iterable[str]) -> list[str]:
        """Runs the chosen faults; returns each violation."""
        began, table, done = time.monotonic(), Table(self.name, self.columns), False
        wrong: list[str] = []
        signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
        print(f"{self.name}: in {environment.folder}", flush=True)
        try:
            environment.up()
            print(f"up after {time.monotonic() - began:.0f} s\n", flush=True)
            rounds.prepare()
            table.row(self.columns)
            for name in options.only or default:
                cells, found = rounds.round(name)
                table.row([*cells, "NO" if found else "yes"])
                for text in found[:10]:
                    print(f"  {text}", flush=True)
                wrong += [f"{name}: {text}" for text in found]
            done = True
        except (Failed, Gone, Refused) as error:
            wrong.append(f"the suite itself was stopped: {error}")
        finally:
            for end in (signal.SIGINT, signal.SIGTERM):
                signal.signal(end, signal.SIG_IGN)  # the processes are ended in any case
            print_errors(environment.errors())
            environment.destroy(keep=options.keep and (bool(wrong) or not done))
        print(f"in {time.monotonic() - began:.0f} s")
        if done and not options.short and not options.only:
            table.write(options.bin_dir)
        return wrong

    def check(self, options: Options) -> None:
        """Ends the program if an option names an unknown fault."""
        if unknown := [name for name in options.only if name not in self.faults]:
            raise SystemExit(f"there is no fault {unknown[0]}; --list shows them")


def wait(reached: Callable[[], bool], patience: float) -> float | None:
    """Returns the seconds until a condition holds, or None after `patience` seconds."""
    began = time.monotonic()
    while time.monotonic() < began + patience:
        try:
            if reached():
                return time.monotonic() - began
        except Gone:
            pass
        time.sleep(0.05)
    return None


def print_errors(errors: Iterable[str]) -> None:
    """Prints the most frequent errors in the logs of the processes, each with its first line."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for error in errors:
        found = re.search('"message":"([^"]*)"', error)
        message = found[1] if found else error.split(" ERROR ")[-1][:200]
        counts[message] += 1
        first.setdefault(message, error)
    for message, count in counts.most_common(20):
        print(f"said {count} times, first by {first[message][:400]}")
