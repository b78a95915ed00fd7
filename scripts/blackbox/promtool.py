"""The program promtool: from the PATH, or unpacked from Debian's package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path("target/promtool")


def find() -> str | None:
    """Returns the path of promtool, or None if there is none and none can be fetched."""
    unpacked = FOLDER / "usr/bin/promtool"
    found = shutil.which("promtool") or (str(unpacked) if unpacked.exists() else None)
    return found or (str(unpacked) if fetch() and unpacked.exists() else None)


def fetch() -> bool:
    """Unpacks Debian's package `prometheus` and does not install it: an installed one would be started."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return False
    FOLDER.mkdir(parents=True, exist_ok=True)
    script = "apt-get download prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb"
    if os.geteuid() == 0:
        script = f"apt-get update && {script}"
    done = subprocess.run(["sh", "-c", script], cwd=FOLDER, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
    return done.returncode == 0


def run(program: str, *arguments: str, stdin: str | None = None) -> list[str]:
    """Runs promtool. Returns the lines of a failure, warnings about style included."""
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] if done.returncode else []


def not_run() -> int:
    """Reports that promtool is missing, which is a failure in CI. Returns an exit code."""
    print("not run: there is no promtool. Install it (Debian: prometheus).")
    return int("CI" in os.environ)
