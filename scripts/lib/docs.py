#!/usr/bin/env python3
"""Keeps documents true to the code.

    docs.py problems URL-OF-THE-SHOP    prints docs/problems.md, from what the shop says of its types of problem
    docs.py promises FILE.md            says which tests a table of promises names that are not there
"""
import json
import pathlib
import re
import sys
import urllib.request

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

`type` leads to the description of the type, at the shop itself: `GET /problems/insufficient-stock`; `GET /problems`
lists them all. `code` is the last part of it, made to be switched on: it never changes its meaning. `detail` says what
is special about this answer, `errors` names each wrong field (`field`, `detail`), `request_id` is what the log knows
the request by, and also in the header `x-request-id`.

This page is printed by `scripts/lib/docs.py`, and `scripts/test` holds it against the shop.

| status | code | title | what it means, and what to do |
| --- | --- | --- | --- |
"""


def problems(shop):
    with urllib.request.urlopen(f"{shop}/problems") as answer:
        kinds = json.load(answer)["items"]
    rows = [f"| {kind['status']} | `{kind['code']}` | {kind['title']} | {kind['meaning']} |" for kind in kinds]
    print(HEAD + "\n".join(rows))


def promises(file):
    text = pathlib.Path(file).read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in pathlib.Path("crates").rglob("*.rs"))
    named = sorted(set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+){2,})`", text)))
    missing = [name for name in named if f"fn {name}(" not in code]
    for name in missing:
        print(f"{file} names the test {name}, which is not there")
    print(f"{len(named) - len(missing)} of {len(named)} tests are there")
    return bool(missing)


if __name__ == "__main__":
    sys.exit({"problems": problems, "promises": promises}[sys.argv[1]](sys.argv[2]))
