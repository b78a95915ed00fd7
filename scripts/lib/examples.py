#!/usr/bin/env python3
"""Runs the examples of a page against an event proxy, and looks at what they print.

    examples.py PAGE.md URL-OF-THE-PROXY FOLDER-OF-THE-PROGRAMS [API-KEY]

An example is a code block with comments behind it: `<!-- prints: PATTERN -->` is to be found in a line of what it
prints, and in a later line than the one before. `<!-- part of: FILE -->` says that the block is taken from the source of
one of cargo's examples, with `// …` for what is left out; that is run in its place. The others are told the key, if one
is given; its quota must be so small that each of them is told to wait (429) at least once, and is right in the end.

Ends with 1 if something was not as promised. Examples whose program is not on this machine are named and left out; in
CI (CI is set) they count as failed.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

# the program, and the file that it wants
PROGRAMS = {"sh": ("bash", "example.sh"), "python": ("python3", "example.py"), "js": ("node", "example.mjs"),
            "java": ("java", "Example.java")}
PATIENCE = 120  # seconds
BLOCK = re.compile(r"^```(\w+)\n((?:(?!```).*\n)*)```\n((?:\n*<!-- (?:prints|part of): .* -->\n)+)", re.M)
COMMENT = re.compile(r"<!-- (prints|part of): (.*?) -->")


def main(page, url, programs, key=None):
    text = pathlib.Path(page).read_text(encoding="utf-8")
    failed = 0
    for block in BLOCK.finditer(text):
        language, code, comments = block.groups()
        line = text.count("\n", 0, block.start()) + 1
        said = [(kind, what) for kind, what in COMMENT.findall(comments)]
        source = dict(said).get("part of")
        command = command_of(language, code, source, programs)
        environment = {**os.environ, "EVENT_PROXY_URL": url}
        is_slowed = key and not source
        if is_slowed:
            environment["EVENT_PROXY_KEY"] = key
        if not shutil.which(command[0]):
            print(f"not run: {page}:{line}, {language}, for there is no {command[0]}")
            failed += bool(os.environ.get("CI"))
            continue
        print(f"== {page}:{line}, {language}", flush=True)
        waits = told_to_wait(url)
        with tempfile.TemporaryDirectory() as folder:
            wrong = run(command, code, folder, environment, [what for kind, what in said if kind == "prints"])
        if is_slowed and told_to_wait(url) == waits:
            wrong.append("it was never told to wait")
        print("".join(f"{page}:{line}: {problem}\n" for problem in wrong), end="")
        failed += bool(wrong)
    return bool(failed) or not BLOCK.search(text)


def told_to_wait(url):
    """How often events were answered 429 so far."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        figures = answer.read().decode()
    found = re.search(r'^http_requests_seconds_count\{route="/v1/events",method="POST",status="429"\} (\d+)$', figures, re.M)
    return int(found[1]) if found else 0


def command_of(language, code, source, programs):
    if not source:
        return list(PROGRAMS[language])
    rest = pathlib.Path(source).read_text(encoding="utf-8")
    for part in re.split(r"^// …\n", code, flags=re.M):
        before, found, rest = rest.partition(part)
        if not found:
            sys.exit(f"this is not in {source}, or not in this order:\n{part}")
    return [str(pathlib.Path(programs, "examples", pathlib.Path(source).stem).resolve())]


def run(command, code, folder, environment, patterns):
    if len(command) > 1:
        pathlib.Path(folder, command[1]).write_text(code, encoding="utf-8")
    try:
        ended = subprocess.run(command, cwd=folder, env=environment, timeout=PATIENCE, encoding="utf-8",
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except subprocess.TimeoutExpired:
        return [f"it took more than {PATIENCE} s"]
    print(ended.stdout, end="", flush=True)
    lines = iter(ended.stdout.splitlines())
    missing = [pattern for pattern in patterns if not any(re.search(pattern, line) for line in lines)]
    wrong = [f"no line, or not in this order: {pattern}" for pattern in missing]
    return wrong + ([f"it ended with {ended.returncode}"] if ended.returncode else [])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
