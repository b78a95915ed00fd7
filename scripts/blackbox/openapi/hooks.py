"""Hooks of schemathesis: generated requests that do not apply to these servers."""

import os
from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """Skips empty query parameters (`?q=`). The shop ignores them, which OpenAPI 3.1 cannot describe."""
    return "" not in (case.query or {}).values()


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Removes made-up passwords. After some of them the event proxy delays the right password, too."""
    sent = (case.headers or {}).get("Authorization", "")
    if sent.startswith("Basic ") and sent != os.environ.get("RIGHT_AUTHORIZATION"):
        del case.headers["Authorization"]
