"""Collects faults of the user's files by kind. Each kind is one line with the number and the first ten."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from utils.errors import UserError
from utils.files.text import first_few

SHOWN = 10


@dataclass
class Findings:
    """Faults, which stop the program, and notes on what was interpreted or skipped, which do not."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def wrong(self, kind: str, *items: str) -> None:
        """Add faults of one kind, e.g. `rows name several photos`. Without items, the kind is the complete message."""
        self.problems.setdefault(kind, []).extend(items)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def lines(self) -> list[str]:
        return [
            f"{len(items)} {kind}: {first_few(items, SHOWN)}" if items else kind
            for kind, items in self.problems.items()
        ]

    def stop(self, more: Iterable[str] = ()) -> None:
        """Raise one UserError with a line per kind of fault, if there are any."""
        lines = [*self.lines(), *more]
        if lines:
            raise UserError("nothing was written:\n  " + "\n  ".join(lines))
