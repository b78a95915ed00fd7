"""Checks of the deployment against the code: names of settings."""

import re

from blackbox.paths import read

# prefix of the variables of a program, and the file with all its settings
PROGRAMS = {"SHOP": "config/shop.toml", "EVENT_PROXY": "config/event-proxy.toml"}
DEPLOYED = (
    "docker-compose.yml",
    "Dockerfile",
    "scripts/cluster",
    "deploy/healthcheck",
    "scripts/blackbox/suite/servers.py",
    "scripts/blackbox/suite/sections.py",
)
DOCUMENTED = {"EVENT_PROXY": ("docs/event-proxy.md",)}


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
