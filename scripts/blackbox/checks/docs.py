"""Checks that keep documents true to the code."""

import json
import re
import urllib.request

from blackbox.paths import ROOT, read

HEAD = """# Types of problem

Every answer of status 400 and above is a problem document (RFC 9457, `application/problem+json`):

```json
{
  "type": "/problems/insufficient-stock",
  "code": "insufficient-stock",
  "title": "Too few are left",
  "status": 409,
  "detail": "…",
  "product_id": "…",
  "request_id": "…"
}
```

Malformed HTTP, a slow head and a large head are answered 400, 408 and 431 before routing. These documents have no
`request_id`, and the server closes the connection.

`type` is the path of the description at the shop itself: `GET /problems/insufficient-stock`; `GET /problems` lists all
types. `code` is the last part of `type`, and never changes its meaning: clients can switch on it. `detail` describes
this occurrence, and `errors` names each wrong field (`field`, `detail`). `request_id` identifies the request in the
log, and is also in the header `x-request-id`.

`scripts/check problems` prints this page, and `scripts/test` compares the page with the shop.

| status | code | title | meaning and action |
| --- | --- | --- | --- |
"""


def problems(shop: str) -> int:
    """Prints docs/problems.md from the problem types of a running shop."""
    with urllib.request.urlopen(f"{shop}/problems") as answer:
        kinds = json.load(answer)["items"]
    rows = [f"| {kind['status']} | `{kind['code']}` | {kind['title']} | {kind['meaning']} |" for kind in kinds]
    print(HEAD + "\n".join(rows))
    return 0


def promises(page: str) -> int:
    """Prints the tests that a page names and that no crate has."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "crates").rglob("*.rs"))
    named = sorted(set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+){2,})`", read(page))))
    missing = [name for name in named if f"fn {name}(" not in code]
    for name in missing:
        print(f"{page} names the test {name}, which is not there")
    print(f"{len(named) - len(missing)} of {len(named)} tests are there")
    return int(bool(missing))
