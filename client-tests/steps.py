"""Steps of a tour: each has an expected status, and the first wrong answer ends the tour."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, TypeVar

SECONDS_TO_APPEAR = 30

T = TypeVar("T", covariant=True)
U = TypeVar("U")

passed = 0


class Answer(Protocol[T]):
    """Answer of a generated function `sync_detailed`."""

    status_code: HTTPStatus
    content: bytes

    @property
    def parsed(self) -> T | None: ...


class Wrong(Exception):
    """A step's answer is not the expected one."""


def check(step: str, holds: bool, found: object) -> None:
    global passed
    if not holds:
        raise Wrong(f"{step}: {found}")
    passed += 1


def expect(step: str, status: int, kind: type[U], answer: Answer[object]) -> U:
    """Returns the body of an answer with this status, which the client read as `kind`."""
    body = answer.parsed
    check(step, answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.content!r}")
    if not isinstance(body, kind):
        raise Wrong(f"{step}: no {kind.__name__}: {body}")
    return body


def refused(step: str, status: int, code: str, answer: Answer[object]) -> None:
    """Checks the status and the code of a problem document."""
    found = getattr(answer.parsed, "code", None)
    check(step, (answer.status_code, found) == (status, code), f"{answer.status_code} {answer.content!r}")


def eventually(step: str, kind: type[U], call: Callable[[], Answer[object]], there: Callable[[U], bool]) -> U:
    """Asks again until the answer has what a consumer group writes in a moment."""
    deadline = time.monotonic() + SECONDS_TO_APPEAR
    while True:
        answer = call()
        body = answer.parsed
        if isinstance(body, kind) and there(body):
            check(step, True, body)
            return body
        if time.monotonic() > deadline:
            raise Wrong(f"{step}: not within {SECONDS_TO_APPEAR} s: {answer.content!r}")
        time.sleep(0.2)


def run(tour: Callable[[str, str], None]) -> None:
    """Runs a tour with the address and the password of the command line; prints `N passed, N failed`."""
    failed = 0
    try:
        tour(sys.argv[1], sys.argv[2])
    except Wrong as wrong:
        print(wrong, file=sys.stderr)
        failed = 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed)
