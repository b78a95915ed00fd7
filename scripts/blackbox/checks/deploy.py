"""Checks of the deployment against the code: names of metrics and of settings."""

import json
import re
from collections.abc import Iterator

from blackbox.paths import ROOT, read

NAMES = "crates/platform/telemetry/src/names.rs"
# prefix of the variables of a program, and the file with all its settings
PROGRAMS = {"SHOP": "config/shop.toml", "EVENT_PROXY": "config/event-proxy.toml"}
DEPLOYED = ("docker-compose.yml", "Dockerfile", "scripts/cluster", "deploy/healthcheck", "scripts/test")
DOCUMENTED = {"EVENT_PROXY": ("docs/event-proxy.md",)}
OWN = {"up"}  # metrics of Prometheus itself
WORDS = {"by", "on", "or", "and", "unless", "without", "offset", "ignoring", "group_left", "group_right", "bool", "inf"}


def metrics() -> int:
    """Prints the metrics that alerts and dashboards name and that no program has."""
    known = set(re.findall(r'^pub const \w+: &str = "(\w+)"', read(NAMES), re.M)) | OWN
    known |= {name + suffix for name in known for suffix in ("_bucket", "_count", "_sum")}
    named = set().union(*map(names, expressions()))
    return report([f"there is no metric {name}" for name in sorted(named - known)], f"{len(named)} metrics are there")


def expressions() -> Iterator[str]:
    """Yields the PromQL expressions of alerts and dashboards."""
    alerts = read("deploy/prometheus/alerts.yml")
    alerts = re.sub(r"^ *#.*\n", "", alerts, flags=re.M)
    # the text behind `expr:` on its line, or the lines below with a deeper indent
    for _indent, line, below in re.findall(r"^( *)expr: (.*)\n((?:\1 +.*\n)*)", alerts, re.M):
        yield below if line == "|" else line
    for file in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"):
        for panel in json.loads(read(file))["panels"]:
            yield from (target["expr"] for target in panel.get("targets", []))


def names(expression: str) -> set[str]:
    """Returns the metrics in PromQL: names without labels, functions, keywords and recording rules."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\b\w+(?::\w+)+", "", bare)
    bare = re.sub(r"\boffset\s+\w+", "", bare)
    return {name for name in re.findall(r"\b[a-z_]+\b(?!\s*\()", bare) if name not in WORDS}


def settings() -> int:
    """Prints the settings that deployment files, scripts and pages name and that no program has."""
    missing: list[str] = []
    count = 0
    for prefix, file in PROGRAMS.items():
        known = settings_of(file)
        named = {
            (place, variable, variable.removeprefix(prefix + "__").replace("__", ".").lower())
            for place in DEPLOYED
            for variable in re.findall(rf"\b{prefix}__[A-Z_]*[A-Z]\b", read(place))
        }
        for place in DOCUMENTED.get(prefix, ()):
            words = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)[` ]", read(place))
            sections = {name.split(".")[0] for name in known}
            named |= {(place, name, name) for name in words if name.split(".")[0] in sections}
        missing += [
            f"{place} names {said}, which is no setting"
            for place, said, name in sorted(named)
            if name not in known and not name.startswith("bus.kafka.properties.")
        ]
        count += len(named)
    return report(missing, f"{count} settings are there")


def settings_of(file: str) -> set[str]:
    """Returns the settings and sections of a file that lists all settings of a program."""
    known, section = {"bus.kafka.properties", "bus.topics"}, ""
    for line in read(file).splitlines():
        if head := re.fullmatch(r"(?:##)?\[\[?([\w.]+)\]\]?", line):
            known.add(head[1])
            section = head[1] + "."
        elif name := re.match(r"#{0,2}(\w+) = ", line):
            known.add(section + name[1])
    return known


def report(missing: list[str], success: str) -> int:
    """Prints each violation; returns the exit code."""
    print("\n".join(missing) or success)
    return int(bool(missing))
