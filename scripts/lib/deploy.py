#!/usr/bin/env python3
"""Holds what is deployed against the code: no metric and no setting that is not there.

    deploy.py metrics     says which metrics alerts and dashboards name that no program has
    deploy.py settings    says which settings docker-compose.yml, the Dockerfile and scripts/cluster name that are none
"""
import json
import pathlib
import re
import sys

NAMES = pathlib.Path("crates/platform/telemetry/src/names.rs")
SETTINGS = pathlib.Path("config/shop.toml")
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
    known, section = {"bus.kafka.properties", "bus.topics"}, ""
    for line in SETTINGS.read_text(encoding="utf-8").splitlines():
        if head := re.fullmatch(r"\[([\w.]+)\]", line):
            section = head[1] + "."
        elif name := re.match(r"#{0,2}(\w+) = ", line):
            known.add(section + name[1])
    missing, count = [], 0
    for file in ("docker-compose.yml", "Dockerfile", "scripts/cluster", "deploy/healthcheck"):
        text = pathlib.Path(file).read_text(encoding="utf-8")
        for variable in sorted(set(re.findall(r"\bSHOP__[A-Z_]*[A-Z]\b", text))):
            count += 1
            if variable.removeprefix("SHOP__").replace("__", ".").lower() not in known:
                missing.append(f"{file} names {variable}, which is no setting")
    return told(missing, f"{count} settings are there")


def told(missing, well):
    print("\n".join(missing) or well)
    return bool(missing)


if __name__ == "__main__":
    sys.exit({"metrics": metrics, "settings": settings}[sys.argv[1]]())
