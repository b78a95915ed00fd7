"""Runs the scripts of this folder."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from blackbox.paths import SCRIPTS


class Failed(Exception):
    """Script ended with an error or exceeded its time limit."""


def run_script(name: str, *words: str, env: Mapping[str, str], patience: float) -> str:
    """Returns the output of a script. Raises Failed.

    The script has a session of its own, so that Ctrl-C ends the suite and the suite stops the servers in order.
    """
    return run_program(str(SCRIPTS / name), *words, env=env, patience=patience)


def run_program(path: str, *words: str, env: Mapping[str, str], patience: float, user: str | None = None) -> str:
    """Returns the output of a program, which may run as another user. Raises Failed."""
    words_only = f"{Path(path).name} {' '.join(words)}"
    try:
        done = subprocess.run(
            [path, *words],
            env=env,
            cwd="/" if user else None,
            user=user,
            extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            errors="replace",
            timeout=patience,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{words_only} took more than {patience} s") from error
    if done.returncode:
        raise Failed(f"{words_only}: {done.stdout.strip()[-600:]}")
    return done.stdout


def error_lines(log: Path, *marks: str) -> Iterator[str]:
    """Yields the lines of a log that contain a mark of an error, or a panic."""
    if log.exists():
        with log.open(errors="replace", encoding="utf-8") as lines:
            yield from (line.strip() for line in lines if any(mark in line for mark in (*marks, "panicked at")))


def environment(without: str = "", **variables: str) -> dict[str, str]:
    """Returns the environment of this process with `variables`, and without the prefix `without`."""
    inherited = {name: value for name, value in os.environ.items() if not (without and name.startswith(without))}
    return inherited | variables
