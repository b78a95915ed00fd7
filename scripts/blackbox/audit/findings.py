"""Violations that an audit found."""

from collections.abc import Iterable


class Findings(list[str]):
    """Violations in their order, each with the subject that was set when it was added."""

    def __init__(self, about: str = "") -> None:
        super().__init__()
        self.about = about
        self.subjects: dict[str, str] = {}

    def append(self, text: str) -> None:
        """Adds a violation."""
        super().append(text)
        self.subjects[text] = self.about

    def extend(self, texts: Iterable[str]) -> None:
        """Adds violations; those of other findings keep their subjects."""
        texts = list(texts) if not isinstance(texts, Findings) else texts
        super().extend(texts)
        known = texts.subjects if isinstance(texts, Findings) else {}
        self.subjects.update({text: known.get(text, self.about) for text in texts})

    def same(self, name: str, got: object, expected: object) -> None:
        """Adds a violation unless the two values are equal."""
        if got != expected:
            self.append(f"{name}: {got} instead of {expected}")
