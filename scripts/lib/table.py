"""The table of a run, as it is printed and kept in docs/reliability.md."""
import datetime
import os

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "reliability.md")


class Table:
    def __init__(self, name, columns):
        """`columns`: their widths, negative for those that are set to the left."""
        self.name, self.columns, self.lines = name, columns, []

    def row(self, values):
        text = " ".join(f"{value:{'<' if width < 0 else '>'}{abs(width)}}"
                        for value, width in zip(values, self.columns.values()))
        self.lines.append(text.rstrip())
        print(self.lines[-1], flush=True)

    def write(self, bin_dir):
        """Between its marks of the page."""
        marks = f"<!-- {self.name}: written by scripts/faults -->\n", f"<!-- {self.name}: end -->\n"
        build = os.path.basename(os.path.abspath(bin_dir)) if bin_dir else "release"
        with open(PAGE, encoding="utf-8") as page:
            text = page.read()
        before, rest = text.split(marks[0], 1)
        _, after = rest.split(marks[1], 1)
        today = datetime.datetime.now(datetime.timezone.utc).date()
        command = f"$ scripts/faults {self.name}    # {today}, {os.cpu_count()} cores, a {build} build"
        table = "\n".join([command, *self.lines])
        with open(PAGE, "w", encoding="utf-8") as page:
            page.write(f"{before}{marks[0]}```\n{table}\n```\n{marks[1]}{after}")
