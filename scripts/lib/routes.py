#!/usr/bin/env python3
"""Says which routes of the OpenAPI document no .http file calls.

    routes.py URL-OF-THE-DOCUMENT FILE.http...

In the files `{{api}}` is the folder of the document, and `{{host}}` the server.
"""
import json
import re
import sys
import urllib.parse
import urllib.request

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")


def shape(path):
    """A path with all its parameters alike."""
    return re.sub(r"\{\{.*?\}\}|\{.*?\}", "*", path.split("?")[0])


def main(url, files):
    with urllib.request.urlopen(url) as answer:
        document = json.load(answer)
    prefix = urllib.parse.urlsplit(url).path.rpartition("/")[0]
    routes = {(method, shape(path)) for path, item in document["paths"].items()
              for method in METHODS if method.lower() in item}
    called = set()
    for file in files:
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                call = re.match(rf"({'|'.join(METHODS)}|SSE)\s+\{{\{{(api|host)\}}\}}(.*)", line)
                if call:
                    method = "GET" if call[1] == "SSE" else call[1]
                    path = shape((prefix if call[2] == "api" else "") + call[3].strip())
                    called |= {route_of(routes, method, path)}
    missing = sorted(routes - called)
    for method, path in missing:
        print(f"no .http file calls {method} {path}")
    print(f"{len(routes) - len(missing)} of {len(routes)} routes are called")
    return bool(missing)


def route_of(routes, method, path):
    """The route that takes a call: the one with this very path, or else one with a parameter where the path differs."""
    if (method, path) in routes:
        return method, path
    for route in routes:
        pairs = list(zip(route[1].split("/"), path.split("/")))
        same_length = route[1].count("/") == path.count("/")
        if route[0] == method and same_length and all(known in ("*", given) for known, given in pairs):
            return route
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
