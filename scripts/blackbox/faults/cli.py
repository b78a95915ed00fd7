"""Breaks a shop, a cluster, or event proxies under load, and checks that nothing is lost and nothing happens twice.

  scripts/faults kill --rounds 10     kills the shop (kill -9) during purchases and coupon requests, and starts it again
  scripts/faults storage              takes room, write access, file or server away from a shop, an event proxy and a
                                      shop on PostgreSQL; writes the table of docs/reliability.md; --short as below
  scripts/faults                      kill and storage
  scripts/faults failover             fails a shop's PostgreSQL over to a lagging standby and restores databases,
                                      with topics on Kafka and in-process; writes the table; --short as below
  scripts/faults cluster              injects every fault into a cluster (scripts/cluster); writes the table of
                                      docs/reliability.md
  scripts/faults cluster --short      one fault of each kind, in about three minutes; writes nothing
  scripts/faults proxy                injects every fault into two event proxies with three brokers (scripts/kafka);
                                      writes the table; with --short as above
  scripts/faults hostile              lets 1,000 hostile clients loose on the shop and on an event proxy; writes the
                                      table; with --short the attacks take 1.5 s each, and nothing is written
  scripts/faults cluster --only NAME  only this fault, also of storage and proxy (--list prints the names)

Builds the release binaries unless --shop or --bin-dir names others. Needs Python 3.11; `cluster` also needs what
scripts/cluster needs; `failover` and `proxy` need what scripts/kafka needs; `proxy` also needs a C compiler. With kcat
topics are read sooner. `failover` uses PostgreSQL if it finds one.
`storage` fills a small file system for root, and else sets a limit on file sizes; it uses PostgreSQL if it finds one.
The exit code is 1 if a promise did not hold.
"""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from blackbox.faults import cluster, failover, hostile, kill, proxy, storage
from blackbox.faults.suite import Options
from blackbox.paths import ROOT


def release_binary(name: str) -> Path:
    """Builds a program in release mode and returns its path."""
    build = ["cargo", "build", "--locked", "--release", "--workspace", "--bin", name]
    subprocess.run(build, check=True, cwd=ROOT)
    metadata = subprocess.check_output(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT)
    return Path(json.loads(metadata)["target_directory"], "release", name)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    suites = ("kill", "storage", "failover", "cluster", "proxy", "hostile", "all")
    parser.add_argument("suite", nargs="?", choices=suites, default="all", help="all (the default): kill and storage")
    parser.add_argument("--rounds", type=int, default=10, help="kill: number of rounds")
    parser.add_argument("--shop", type=Path, help="kill: the binary of the shop (default: a release build)")
    cluster_or_proxy = parser.add_argument_group("storage, failover, cluster, proxy, hostile")
    add = cluster_or_proxy.add_argument
    add("--only", metavar="NAME", action="append", default=[], help="only this fault; may be repeated")
    add("--list", action="store_true", help="print the names of the faults")
    add("--bin-dir", help="folder of the binaries (default: a release build)")
    add("--short", action="store_true", help="one fault of each kind, with shorter pauses")
    add("--keep", action="store_true", help="keep the folder if a promise did not hold")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the suites of the command line; returns the exit code."""
    arguments = parse(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the started processes are stopped
    options = Options(arguments.only, arguments.bin_dir, arguments.short, arguments.keep)
    if arguments.list:
        named = {"proxy": list(proxy.FAULTS), "storage": list(storage.FAULTS), "failover": list(failover.FAULTS)}
        print("\n".join(named.get(arguments.suite) or cluster.names(options.short)))
        return 0
    if arguments.suite == "cluster":
        return report(cluster.run(options))
    if arguments.suite == "failover":
        return report(failover.run(options, Path(options.bin_dir or release_binary("shop").parent)))
    if arguments.suite == "proxy":
        given = options.bin_dir and Path(options.bin_dir, "event-proxy")
        return report(proxy.run(options, given or release_binary("event-proxy")))
    if arguments.suite == "hostile":
        names = ("shop", "event-proxy")
        folder = options.bin_dir and Path(options.bin_dir)
        return report(hostile.run([folder / name if folder else release_binary(name) for name in names], options.short))
    wrong: list[str] = []
    if arguments.suite in ("kill", "all"):
        wrong += kill.run(arguments.shop or release_binary("shop"), arguments.rounds)
    if arguments.suite in ("storage", "all"):
        if not options.bin_dir:
            release_binary("event-proxy")
        wrong += storage.run(options, Path(options.bin_dir or release_binary("shop").parent))
    return report(wrong)


def report(wrong: Sequence[str]) -> int:
    """Prints the violations; returns the exit code."""
    for text in wrong[:50]:
        print(f"BROKEN: {text}")
    print(f"\n{len(wrong)} promises did not hold" if wrong else "\nevery promise held")
    return int(bool(wrong))
