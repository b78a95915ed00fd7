"""Table of a fault suite, as printed and as kept in docs/reliability.md."""

import datetime
import os
from collections.abc import Iterable, Mapping

from blackbox.paths import ROOT

PAGE = ROOT / "docs" / "reliability.md"

Cell = str | int


def seconds(value: float | None) -> str:
    """Returns the cell of a recovery time."""
    return "never" if value is None else f"{value:.1f} s"


class Table:
    """Rows with columns of a fixed width."""

    def __init__(self, name: str, columns: Mapping[str, int]) -> None:
        """Takes the widths of the columns; a column with a negative width is aligned to the left."""
        self.name, self.columns = name, columns
        self.lines: list[str] = []

    def row(self, cells: Iterable[Cell]) -> None:
        """Prints a row."""
        pairs = zip(cells, self.columns.values(), strict=True)
        text = " ".join(f"{cell:{'<' if width < 0 else '>'}{abs(width)}}" for cell, width in pairs)
        self.lines.append(text.rstrip())
        print(self.lines[-1], flush=True)

    def write(self, bin_dir: str | None) -> None:
        """Replaces the table of this suite in the page, between its marks."""
        marks = f"<!-- {self.name}: written by scripts/faults -->\n", f"<!-- {self.name}: end -->\n"
        build = os.path.basename(os.path.abspath(bin_dir)) if bin_dir else "release"
        before, rest = PAGE.read_text(encoding="utf-8").split(marks[0], 1)
        _, after = rest.split(marks[1], 1)
        today = datetime.datetime.now(datetime.UTC).date()
        command = f"$ scripts/faults {self.name}    # {today}, {os.cpu_count()} cores, a {build} build"
        table = "\n".join([command, *self.lines])
        PAGE.write_text(f"{before}{marks[0]}```\n{table}\n```\n{marks[1]}{after}", encoding="utf-8")
