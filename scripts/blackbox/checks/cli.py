"""Checks documents, routes and the deployment against the code and against running servers.

The exit code is 1 if a check found a violation.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from blackbox.checks import deploy, docs, project, prose, routes
from blackbox.checks import examples as example_blocks


def main(line: Sequence[str] | None = None) -> int:
    """Runs the check of the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    checks = parser.add_subparsers(metavar="CHECK", required=True)

    problems = checks.add_parser("problems", help="print docs/problems.md, from the problem types of a shop")
    problems.add_argument("shop", metavar="URL", help="address of the shop")
    problems.set_defaults(run=lambda given: docs.problems(given.shop))

    promises = checks.add_parser("promises", help="print the tests that a page names and that no crate has")
    promises.add_argument("page", metavar="PAGE.md")
    promises.set_defaults(run=lambda given: docs.promises(given.page))

    english = checks.add_parser(
        "prose", help="compare the English of the project with the limits of scripts/prose.json"
    )
    english.add_argument("--update", action="store_true", help="lower the limits to the figures of today")
    english.set_defaults(run=lambda given: prose.prose(update=given.update))

    settings = checks.add_parser("settings", help="print settings of deployment files and pages that no program has")
    settings.set_defaults(run=lambda _: deploy.settings())

    valid = checks.add_parser("schemas", help="validate workflows, templates and the compose file")
    valid.add_argument("tools", metavar="FOLDER", type=Path, help="folder of check-jsonschema (requirements-lint.txt)")
    valid.set_defaults(run=lambda given: project.schemas(given.tools))

    rust = checks.add_parser("toolchain", help="print places that name another Rust than Cargo.toml")
    rust.set_defaults(run=lambda _: project.toolchain())

    called = checks.add_parser("routes", help="print the routes of an OpenAPI document that no .http file calls")
    called.add_argument("url", metavar="URL", help="address of the document")
    called.add_argument("files", metavar="FILE.http", nargs="+")
    called.set_defaults(run=lambda given: routes.routes(given.url, given.files))

    examples = checks.add_parser(
        "examples",
        help="run the examples of a page against an event proxy",
        description=example_blocks.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    examples.add_argument("page", metavar="PAGE.md")
    examples.add_argument("url", metavar="URL", help="address of the event proxy")
    examples.add_argument("programs", metavar="FOLDER", help="folder of the compiled programs")
    examples.add_argument("key", metavar="API-KEY", nargs="?")
    examples.set_defaults(run=lambda given: example_blocks.examples(given.page, given.url, given.programs, given.key))

    arguments = parser.parse_args(line)
    code: int = arguments.run(arguments)
    return code
