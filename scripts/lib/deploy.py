#!/usr/bin/env python3
"""Holds what is deployed against the code: no metric and no setting that is not there.

    deploy.py metrics     says which metrics alerts and dashboards name that no program has
    deploy.py settings    says which settings docker-compose.yml, the Dockerfile, some scripts and the page of the event
                          proxy name that are none
"""
import json
import pathlib
import re
import sys

NAMES = pathlib.Path("crates/platform/telemetry/src/names.rs")
# what the variables of a program begin with, and the file with all its settings
PROGRAMS = {"SHOP": "config/shop.toml", "EVENT_PROXY": "config/event-proxy.toml"}
DEPLOYED = ("docker-compose.yml", "Dockerfile", "scripts/cluster", "deploy/healthcheck", "scripts/test")
DOCUMENTED = {"EVENT_PROXY": ("docs/event-proxy.md",)}
# of Prometheus itself
OWN = {"up"}
WORDS = {"by", "on", "or", "and", "unless", "without", "offset", "ignoring", "group_left", "group_right", "bool", "inf"}


def metrics():
    known = set(re.findall(r'^pub const \w+: &str = "(\w+)"', NAMES.read_text(encoding="utf-8"), re.M)) | OWN
    known |= {name + suffix for name in known for suffix in ("_bucket", "_count", "_sum")}
    named = set().union(*map(names, expressions()))
    return told([f"there is no metric {name}" for name in sorted(named - known)], f"{len(named)} metrics are there")


def expressions():
    alerts = pathlib.Path("deploy/prometheus/alerts.yml").read_text(encoding="utf-8")
    alerts = re.sub(r"^ *#.*\n", "", alerts, flags=re.M)
    # the text behind `expr:`, on its line, or in the lines below that are indented further
    for indent, line, below in re.findall(r"^( *)expr: (.*)\n((?:\1 +.*\n)*)", alerts, re.M):
        yield below if line == "|" else line
    for file in pathlib.Path("deploy/grafana/dashboards").glob("*.json"):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            yield from (target["expr"] for target in panel.get("targets", []))


def names(expression):
    """The metrics in PromQL: its names, but for labels, functions, words of the language, and recorded figures."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\b\w+(?::\w+)+", "", bare)
    bare = re.sub(r"\boffset\s+\w+", "", bare)
    return {name for name in re.findall(r"\b[a-z_]+\b(?!\s*\()", bare) if name not in WORDS}


def settings():
    missing, count = [], 0
    for prefix, file in PROGRAMS.items():
        known = settings_of(file)
        named = {(place, variable, variable.removeprefix(prefix + "__").replace("__", ".").lower())
                 for place in DEPLOYED for variable in re.findall(rf"\b{prefix}__[A-Z_]*[A-Z]\b", read(place))}
        for place in DOCUMENTED.get(prefix, ()):
            names = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)[` ]", read(place))
            sections = {name.split(".")[0] for name in known}
            named |= {(place, name, name) for name in names if name.split(".")[0] in sections}
        missing += [f"{place} names {said}, which is no setting" for place, said, name in sorted(named)
                    if name not in known and not name.startswith("bus.kafka.properties.")]
        count += len(named)
    return told(missing, f"{count} settings are there")


def settings_of(file):
    """The settings of a file that has all of them, and its sections."""
    known, section = {"bus.kafka.properties", "bus.topics"}, ""
    for line in read(file).splitlines():
        if head := re.fullmatch(r"(?:##)?\[\[?([\w.]+)\]\]?", line):
            known.add(head[1])
            section = head[1] + "."
        elif name := re.match(r"#{0,2}(\w+) = ", line):
            known.add(section + name[1])
    return known


def read(file):
    return pathlib.Path(file).read_text(encoding="utf-8")


def told(missing, well):
    print("\n".join(missing) or well)
    return bool(missing)


if __name__ == "__main__":
    sys.exit({"metrics": metrics, "settings": settings}[sys.argv[1]]())
