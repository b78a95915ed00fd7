"""Run of the examples of a page against an event proxy.

An example is a code block with comments behind it. `<!-- prints: PATTERN -->` must match a line of the output, below
the match of the comment before. `<!-- part of: FILE -->` names the source of a cargo example that contains the block,
with `// …` for left out lines; the compiled example runs instead of the block. Other blocks get the API key, if one is
given; its quota must be so small that each of them is answered 429 at least once and succeeds in the end.

An example whose program is missing on this machine is named and skipped; in CI (CI is set) it counts as failed.
"""

import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from blackbox.paths import read

# the program of a language, and the name of its source file
PROGRAMS = {
    "sh": ("bash", "example.sh"),
    "python": ("python3", "example.py"),
    "js": ("node", "example.mjs"),
    "java": ("java", "Example.java"),
}
PATIENCE = 120  # seconds
BLOCK = re.compile(r"^```(\w+)\n((?:(?!```).*\n)*)```\n((?:\n*<!-- (?:prints|part of): .* -->\n)+)", re.M)
COMMENT = re.compile(r"<!-- (prints|part of): (.*?) -->")


def examples(page: str, url: str, programs: str, key: str | None) -> int:
    """Runs the examples of a page; prints each violation."""
    text = read(page)
    failed = 0
    for block in BLOCK.finditer(text):
        language, code, comments = block.groups()
        place = f"{page}:{text.count(chr(10), 0, block.start()) + 1}"
        said = COMMENT.findall(comments)
        source = dict(said).get("part of")
        command = command_of(language, code, source, programs)
        environment = {**os.environ, "EVENT_PROXY_URL": url}
        is_slowed = key is not None and not source
        if key and not source:
            environment["EVENT_PROXY_KEY"] = key
        if not shutil.which(command[0]):
            print(f"not run: {place}, {language}, for there is no {command[0]}")
            failed += bool(os.environ.get("CI"))
            continue
        print(f"== {place}, {language}", flush=True)
        before = refusals(url)
        with tempfile.TemporaryDirectory() as folder:
            patterns = [pattern for kind, pattern in said if kind == "prints"]
            wrong = run(command, code, Path(folder), environment, patterns)
        if is_slowed and refusals(url) == before:
            wrong.append("it was never told to wait")
        print("".join(f"{place}: {problem}\n" for problem in wrong), end="")
        failed += bool(wrong)
    return int(bool(failed) or not BLOCK.search(text))


def refusals(url: str) -> int:
    """Returns the number of requests with events that were answered 429."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        figures = answer.read().decode()
    metric = r'^http_requests_seconds_count\{route="/v1/events",method="POST",status="429"\} (\d+)$'
    found = re.search(metric, figures, re.M)
    return int(found[1]) if found else 0


def command_of(language: str, code: str, source: str | None, programs: str) -> list[str]:
    """Returns the command of an example. Ends the program if a block is not part of its source."""
    if not source:
        return list(PROGRAMS[language])
    rest = read(source)
    for part in re.split(r"^// …\n", code, flags=re.M):
        _, found, rest = rest.partition(part)
        if not found:
            raise SystemExit(f"this is not in {source}, or not in this order:\n{part}")
    return [str(Path(programs, "examples", Path(source).stem).resolve())]


def run(command: list[str], code: str, folder: Path, environment: Mapping[str, str], patterns: list[str]) -> list[str]:
    """Runs an example; returns each violation."""
    if len(command) > 1:
        (folder / command[1]).write_text(code, encoding="utf-8")
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            timeout=PATIENCE,
            encoding="utf-8",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"it took more than {PATIENCE} s"]
    print(ended.stdout, end="", flush=True)
    lines = iter(ended.stdout.splitlines())
    missing = [pattern for pattern in patterns if not any(re.search(pattern, line) for line in lines)]
    wrong = [f"no line, or not in this order: {pattern}" for pattern in missing]
    return wrong + ([f"it ended with {ended.returncode}"] if ended.returncode else [])
