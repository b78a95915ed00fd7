"""Folders of the project."""

from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
ROOT = SCRIPTS.parent


def read(file: str | Path) -> str:
    """Returns the text of a file; a relative path starts at the root of the project."""
    return (ROOT / file).read_text(encoding="utf-8")
