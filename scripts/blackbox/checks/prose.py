"""Measures how searchable the English of the project is, and holds it to limits that only go down.

Two figures. Openers: the share of doc comments that begin with a conjunction, a relative or an indefinite word instead
of a noun, a verb or an article. Pronouns: the share of words that refer to something instead of naming it, in all doc
comments and in each page. CONTRIBUTING.md has the style behind them.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIMITS = Path("scripts/prose.json")
GOAL = {"openers": 8.0, "pronouns": 5.0, "page": 6.0}  # a new page begins with the goal as its limit
PAGES = ("*.md", ":!README.ko.md", ":!.github")
OPENERS = {
    *("what", "whatever", "who", "whoever", "whose", "whether", "why", "where", "how", "of", "those", "as", "but"),
    *("and", "nothing", "some", "between", "has", "it", "that", "one", "none", "else", "not", "nor", "neither"),
}
PRONOUNS = {
    *("it", "its", "that", "which", "what", "whatever", "those", "them", "they", "who", "whoever", "whose"),
    *("somebody", "nobody", "anybody", "others", "one", "ones", "none"),
}
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
CODE = re.compile(r"`[^`]*`|https?://\S+|(?<=\])\([^)]*\)")


@dataclass
class Share:
    part: int = 0
    whole: int = 0

    def count(self, found: bool) -> None:
        self.part += found
        self.whole += 1

    def percent(self) -> float:
        return round(100 * self.part / self.whole, 1) if self.whole else 0.0


def prose(*, update: bool = False) -> int:
    """Returns 1 if a figure is above its limit; an update lowers limits and never raises one."""
    figures = {**doc_comments(), **{page: pronouns_of_page(page) for page in files(*PAGES)}}
    limits: dict[str, float] = json.loads(LIMITS.read_text(encoding="utf-8")) if LIMITS.exists() else {}
    if update:
        lowered = {name: min(figure, limits.get(name, 100.0)) for name, figure in sorted(figures.items())}
        # a figure below its goal has room up to it
        kept = {name: max(limit, goal(name)) for name, limit in lowered.items()}
        LIMITS.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        return 0
    wrong = [
        f"{name}: {figure} %, and at most {limit} % are allowed"
        for name, figure in sorted(figures.items())
        if figure > (limit := limits.get(name, goal(name)))
    ]
    print("\n".join(wrong) or f"openers {figures['openers']} %, pronouns {figures['pronouns']} % of doc comments")
    return int(bool(wrong))


def goal(name: str) -> float:
    return GOAL.get(name, GOAL["page"])


def files(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns], stdout=subprocess.PIPE, text=True, check=True
    )
    return [name for name in listed.stdout.splitlines() if Path(name).exists()]


def doc_comments() -> dict[str, float]:
    openers, pronouns = Share(), Share()
    for name in files("*.rs"):
        for text in comments(Path(name).read_text(encoding="utf-8")):
            words = WORD.findall(text)
            if words:
                first = text.lstrip().lower()
                openers.count(
                    (words[0].lower() in OPENERS and first.startswith(words[0].lower())) or first.startswith("the same")
                )
                for word in words:
                    pronouns.count(word.lower() in PRONOUNS)
    return {"openers": openers.percent(), "pronouns": pronouns.percent()}


def comments(code: str) -> Iterator[str]:
    """The text of each block of doc comments, without code and headings."""
    block: list[str] = []
    for line in [*code.splitlines(), ""]:
        if match := re.match(r"\s*//[/!](.*)", line):
            block.append(match[1].strip())
        elif block:
            yield text_of(block)
            block = []


def pronouns_of_page(page: str) -> float:
    share = Share()
    for word in WORD.findall(text_of(Path(page).read_text(encoding="utf-8").splitlines())):
        share.count(word.lower() in PRONOUNS)
    return share.percent()


def text_of(lines: list[str]) -> str:
    kept, in_code = [], False
    for line in lines:
        if line.startswith("```"):
            in_code = not in_code
        elif not in_code and not line.startswith(("#", "|", "    ", "<!--")):
            kept.append(line)
    return CODE.sub(" ", " ".join(kept))
