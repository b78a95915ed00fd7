#!/usr/bin/env python3
"""Holds what is deployed against the code: no setting that is not there.

    deploy.py settings    says which settings docker-compose.yml, the Dockerfile, some scripts and the page of the event
                          proxy name that are none
"""
import pathlib
import re
import sys

# what the variables of a program begin with, and the file with all its settings
PROGRAMS = {"SHOP": "config/shop.toml", "EVENT_PROXY": "config/event-proxy.toml"}
DEPLOYED = ("docker-compose.yml", "Dockerfile", "scripts/cluster", "deploy/healthcheck", "scripts/test")
DOCUMENTED = {"EVENT_PROXY": ("docs/event-proxy.md",)}


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
    sys.exit({"settings": settings}[sys.argv[1]]())
