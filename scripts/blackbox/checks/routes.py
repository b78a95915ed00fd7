"""Check that every route of an OpenAPI document is called by an .http file."""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")

Route = tuple[str, str]  # method, and path with `*` for each parameter


def shape(path: str) -> str:
    """Returns a path with `*` for each parameter."""
    return re.sub(r"\{\{.*?\}\}|\{.*?\}", "*", path.partition("?")[0])


def routes(url: str, files: Iterable[str]) -> int:
    """Prints the routes that no file calls. In files `{{api}}` is the folder of the document, `{{host}}` the server."""
    with urllib.request.urlopen(url) as answer:
        document = json.load(answer)
    prefix = urllib.parse.urlsplit(url).path.rpartition("/")[0]
    known = {
        (method, shape(path))
        for path, item in document["paths"].items()
        for method in METHODS
        if method.lower() in item
    }
    called = set()
    for file in files:
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            if call := re.match(rf"({'|'.join(METHODS)}|SSE)\s+\{{\{{(api|host)\}}\}}(.*)", line):
                method = "GET" if call[1] == "SSE" else call[1]
                path = shape((prefix if call[2] == "api" else "") + call[3].strip())
                called.add(route_of(known, method, path))
    missing = sorted(known - called)
    for method, path in missing:
        print(f"no .http file calls {method} {path}")
    print(f"{len(known) - len(missing)} of {len(known)} routes are called")
    return int(bool(missing))


def route_of(known: set[Route], method: str, path: str) -> Route | None:
    """Returns the route of a call: the route with this very path, or else one whose parameters fit."""
    if (method, path) in known:
        return method, path
    for route in known:
        parts, given = route[1].split("/"), path.split("/")
        if route[0] == method and len(parts) == len(given):
            pairs = zip(parts, given, strict=True)
            if all(part in ("*", value) for part, value in pairs):
                return route
    return None
