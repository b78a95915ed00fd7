"""Runs every test there is.

Without --quick and --tls the suite needs Rust, a C compiler, make, Node.js with npm, Python 3, curl, and
- a PostgreSQL: the server of TEST_DATABASE_URL, the programs of this machine (PG_BINDIR, pg_config, or Debian's
  folder), a build from the Maven registry (with mvn), or Debian's package (as root), in this order;
- a Kafka: the cluster of KAFKA_BOOTSTRAP_SERVERS, or a broker from the Maven registry (with mvn and java, or as root
  with Debian's packages of them);
- kcat, Chromium and Java 17 for some checks (as root: Debian's packages). Without these programs the checks are left
  out and named; in CI (CI is set) they count as failed.
The suite writes to target/ and the temporary folder only, and uses no fixed port. The last line is
`N passed, N failed`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from . import needs, sections
from .runner import HEAVY, ROOT, Missing, Runner, Section, Stopped

TLS_FEATURES = ("--features", "shop/tls,workers/tls")


def main() -> int:
    parser = argparse.ArgumentParser(
        "scripts/test", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--quick", action="store_true", help="format, lints, and the tests that need no server")
    kinds.add_argument(
        "--tls",
        action="store_true",
        help="tests of the feature `tls` against a secured Kafka; compiles "
        "OpenSSL and the SDK of AWS, needs perl, Java and Maven",
    )
    groups = sorted({section.group for section in sections.FULL} - {"servers"})
    kinds.add_argument("--only", nargs="+", metavar="GROUP", choices=groups, help=f"some groups: {', '.join(groups)}")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    runner = Runner(target_folder(), in_ci=bool(os.environ.get("CI")))
    signal.signal(signal.SIGTERM, interrupt)
    try:
        runner.run(chosen(runner, arguments))
        return runner.report()
    except Missing as missing:
        print(f"scripts/test: {missing}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Stopped):
        return 130
    finally:
        runner.close()
        needs.stop_kafka(runner)


def chosen(runner: Runner, arguments: argparse.Namespace) -> list[Section]:
    needs.require("cargo", "cc", "make")
    if arguments.quick:
        for name in ("TEST_SERVERS_REQUIRED", "KAFKA_BOOTSTRAP_SERVERS"):
            runner.env.pop(name, None)
        return sections.QUICK
    if arguments.tls:
        needs.require("perl")
        return [Section("tls", "tls", secured, HEAVY)]
    needs.require("npm", "node", "curl")
    runner.env["TEST_SERVERS_REQUIRED"] = "1"
    if not arguments.only:
        return sections.FULL
    wanted = set(arguments.only) | {"servers"}
    # whatever tries programs needs the build
    found = [section for section in sections.FULL if section.group in wanted or section.name == "build"]
    return [section for section in found if section.name != "build" or any("build" in other.after for other in found)]


def secured(runner: Runner) -> None:
    runner.check("prepare Kafka", "scripts/kafka", "install")
    runner.check(
        "cargo clippy",
        "cargo",
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        *TLS_FEATURES,
        "--",
        "-D",
        "warnings",
    )
    sections.cargo_tests(runner, "cargo test", ("--workspace", *TLS_FEATURES, "--test", "secured"))


def target_folder() -> Path:
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return Path(json.loads(metadata.stdout)["target_directory"])


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
