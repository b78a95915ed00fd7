"""Checks of the files around the code: workflows, templates, compose file, and the version of Rust."""

import re
import subprocess
import tomllib
from pathlib import Path

from blackbox.checks.deploy import report
from blackbox.paths import ROOT, read

# files, and the schema of SchemaStore that check-jsonschema brings with it
SCHEMAS = {
    ".github/workflows/*.yml": "github-workflows",
    ".github/dependabot.yml": "dependabot",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
}
# places that name the release of Rust, as `rust-version` in Cargo.toml
RELEASES = {
    "Dockerfile": r"^FROM rust:([\d.]+)-",
    ".github/workflows/*.yml": r"\brust:([\d.]+)-",
    "CONTRIBUTING.md": r"\bRust ([\d.]+\d)",
}


def schemas(tools: Path) -> int:
    """Validates files against their schemas; `tools` is the folder of check-jsonschema."""
    failed = 0
    for pattern, schema in SCHEMAS.items():
        files = sorted(ROOT.glob(pattern))
        if not files:
            print(f"no file {pattern}")
        command = [str(tools / "check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *map(str, files)]
        failed += not files or subprocess.run(command, check=False).returncode != 0
    return int(failed > 0)


def toolchain() -> int:
    """Prints the places that name another release of Rust than Cargo.toml."""
    minor: str = tomllib.loads(read("Cargo.toml"))["workspace"]["package"]["rust-version"]
    wrong, right = [], 0
    for pattern, expression in RELEASES.items():
        named = [
            (path.relative_to(ROOT), found)
            for path in sorted(ROOT.glob(pattern))
            for found in re.findall(expression, path.read_text(encoding="utf-8"), re.M)
        ]
        if not named:
            wrong.append(f"{pattern} names no release of Rust")
        wrong += [f"{path} names Rust {found} instead of {minor}" for path, found in named if found != minor]
        right += sum(found == minor for _path, found in named)
    return report(wrong, f"{right} places name Rust {minor}")
