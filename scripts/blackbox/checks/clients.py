"""Lints the OpenAPI documents of running servers, takes the tour of README with generated clients, and sends
CloudEvents with the official SDKs.

Needs Node.js with npm, and Python 3.11 with venv. Generated clients and packages go to the target folder. The last line
is `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "client-tests"
SECONDS = 300  # of one command
# What openapi-python-client says of a part of the document that it leaves out; of media types that it does not know it
# may say so (see python-client.yaml).
LEFT_OUT = re.compile(r"Failure to process schema|Cannot parse")
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed$", re.M)


@dataclass
class Results:
    passed: int = 0
    failed: int = 0

    def run(
        self,
        name: str,
        *command: str | Path,
        cwd: Path,
        env: dict[str, str] | None = None,
        refused: re.Pattern[str] | None = None,
    ) -> bool:
        """Runs a command, which counts as one check, or as many as its last line says. Prints what fails, also by an
        output that is `refused`."""
        words = [str(word) for word in command]
        try:
            done = subprocess.run(
                words,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                timeout=SECONDS,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            status, output = done.returncode, done.stdout
        except (OSError, subprocess.TimeoutExpired) as error:
            status, output = 1, str(error)
        counts = COUNTS.findall(output)
        passed, failed = map(int, counts[-1]) if counts else (int(status == 0), int(status != 0))
        failed = max(failed, int(status != 0 or bool(refused and refused.search(output))))
        passed = 0 if failed and not counts else passed
        self.passed += passed
        self.failed += failed
        print(f"{'FAILED' if failed else 'ok':6} {name}", flush=True)
        if failed:
            print(output, flush=True)
        return failed == 0


def main() -> int:
    parser = argparse.ArgumentParser(
        "clients", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shop", required=True, metavar="URL")
    parser.add_argument("--proxy", required=True, metavar="URL")
    parser.add_argument("--admin-password", help="of both servers; without it, the documents are linted only")
    parser.add_argument("--target", type=Path, default=Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")))
    arguments = parser.parse_args()
    target = arguments.target.resolve()
    results = Results()
    tools = npm_packages(results, target)
    servers = {"shop": arguments.shop, "proxy": arguments.proxy}
    if tools:
        for name, url in servers.items():
            path = "/api/v1/openapi.json" if name == "shop" else "/v1/openapi.json"
            urllib.request.urlretrieve(url + path, tools / f"{name}.json")
        lint(results, tools)
        if arguments.admin_password:
            typescript(results, tools, servers, arguments.admin_password)
            python(results, tools, target, servers, arguments.admin_password)
    print(f"{results.passed} passed, {results.failed} failed")
    return int(results.failed > 0)


def npm_packages(results: Results, target: Path) -> Path | None:
    """Installs the packages of client-tests into the folder of the same name in target."""
    tools = target / SOURCE.name
    lock, installed = SOURCE / "package-lock.json", tools / "installed.json"
    if not (installed.exists() and filecmp.cmp(lock, installed, shallow=False)):
        tools.mkdir(parents=True, exist_ok=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / file, tools / file)
        if not results.run("npm packages", "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=tools):
            return None
        shutil.copy(lock, installed)
    return tools


def python_packages(results: Results, target: Path) -> Path | None:
    """Installs the requirements into a virtual environment in target; returns its folder of programs."""
    venv = target / f"{SOURCE.name}-python"
    requirements, installed = SOURCE / "requirements.txt", venv / "installed.txt"
    if not (installed.exists() and filecmp.cmp(requirements, installed, shallow=False)):
        shutil.rmtree(venv, ignore_errors=True)
        pip = (venv / "bin/python", "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", requirements)
        if not (
            results.run("virtual environment", sys.executable, "-m", "venv", venv, cwd=ROOT)
            and results.run("Python packages", *pip, cwd=ROOT)
        ):
            return None
        shutil.copy(requirements, installed)
    return venv / "bin"


def lint(results: Results, tools: Path) -> None:
    for name in ("shop", "proxy"):
        results.run(
            f"redocly lint of the {name}",
            tools / "node_modules/.bin/redocly",
            "lint",
            "--config",
            SOURCE / "redocly.yaml",
            "--max-problems",
            "1000",
            f"{name}.json",
            cwd=tools,
            env={"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"},
        )


def typescript(results: Results, tools: Path, servers: dict[str, str], password: str) -> None:
    """Generates, type-checks and compiles the TypeScript clients, and runs their tours."""
    programs = tools / "node_modules/.bin"
    for source in [*SOURCE.glob("*.ts"), SOURCE / "tsconfig.json"]:
        shutil.copy(source, tools)
    shutil.rmtree(tools / "dist", ignore_errors=True)
    generated = all(
        results.run(
            f"TypeScript client of the {name}",
            programs / "openapi-typescript",
            f"{name}.json",
            "--output",
            f"{name}.ts",
            cwd=tools,
        )
        for name in servers
    )
    if generated and results.run("types of the TypeScript tours", programs / "tsc", "--project", ".", cwd=tools):
        for name, url in servers.items():
            results.run(f"TypeScript tour of the {name}", "node", f"dist/{name}_tour.js", url, password, cwd=tools)
        events = "dist/proxy_cloudevents.js"
        results.run("CloudEvents SDK for JavaScript", "node", events, servers["proxy"], password, cwd=tools)


def python(results: Results, tools: Path, target: Path, servers: dict[str, str], password: str) -> None:
    """Generates the Python clients, type-checks their tours with mypy, and runs them."""
    programs = python_packages(results, target)
    if not programs:
        return
    clients = tools / "python"
    shutil.rmtree(clients, ignore_errors=True)
    clients.mkdir()
    generated = all(
        results.run(
            f"Python client of the {name}",
            programs / "openapi-python-client",
            "generate",
            "--path",
            tools / f"{name}.json",
            "--meta",
            "none",
            "--output-path",
            f"{name}_client",
            "--config",
            SOURCE / "python-client.yaml",
            cwd=clients,
            refused=LEFT_OUT,
        )
        for name in servers
    )
    if not generated:
        return
    tours = [SOURCE / f"{name}_tour.py" for name in servers]
    events = SOURCE / "proxy_cloudevents.py"
    env = {"PYTHONPATH": str(clients), "MYPYPATH": str(clients), "PYTHONDONTWRITEBYTECODE": "1"}
    results.run(
        "types of the Python tours",
        programs / "mypy",
        "--strict",
        "--cache-dir",
        tools / "mypy",
        *tours,
        events,
        cwd=SOURCE,
        env=env,
    )
    for tour, url in zip(tours, servers.values(), strict=True):
        results.run(
            f"Python tour of the {tour.stem.removesuffix('_tour')}",
            programs / "python",
            tour,
            url,
            password,
            cwd=SOURCE,
            env=env,
        )
    results.run(
        "CloudEvents SDK for Python", programs / "python", events, servers["proxy"], password, cwd=SOURCE, env=env
    )


if __name__ == "__main__":
    sys.exit(main())
