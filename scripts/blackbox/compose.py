"""Checks docker-compose.yml: against the schema of the Compose specification, and the names in it.

    python3 -m blackbox.compose

Needs requirements-lint.txt.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FILE = Path("docker-compose.yml")
SCHEMA = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]


def check(compose: Any) -> Iterator[str]:
    """Yields names that nothing declares, files that are missing, and ports that two services publish."""
    services, volumes = compose["services"], set(compose["volumes"])
    used: set[str] = set()
    ports: Counter[str] = Counter()
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if other not in services:
                yield f"{name} depends on {other}, which is no service"
            elif how["condition"] == "service_healthy" and not has_healthcheck(services[other]):
                yield f"{name} waits until {other} is healthy, which has no healthcheck"
        for network in service.get("networks", []):
            if network not in compose["networks"]:
                yield f"{name} is in the network {network}, which is not declared"
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            if not source.startswith("."):
                used.add(source)
            elif not Path(source).exists():
                yield f"{name} mounts {source}, which is not there"
        ports.update(port.rpartition(":")[0] for port in service.get("ports", []))
    yield from (f"the volume {each} is not declared" for each in sorted(used - volumes))
    yield from (f"no service mounts the volume {each}" for each in sorted(volumes - used))
    yield from (f"{count} services publish {port}" for port, count in ports.items() if count > 1)


def has_healthcheck(service: Any) -> bool:
    """Returns true if the service has a healthcheck; the image that is built here has one."""
    of_image = "\nHEALTHCHECK " in Path("Dockerfile").read_text("utf-8")
    return "healthcheck" in service or ("build" in service and of_image)


def main() -> int:
    """Prints what is wrong. Returns an exit code."""
    schema = subprocess.run([sys.executable, *SCHEMA, str(FILE)], check=False)
    wrong = list(check(YAML(typ="safe").load(FILE)))
    print("\n".join(wrong) or "every name in docker-compose.yml is declared")
    return int(bool(wrong or schema.returncode))


if __name__ == "__main__":
    sys.exit(main())
