"""What is wrong with somebody's files, by kind: each kind is one line with its count and its first ten."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from utils.errors import UserError
from utils.files.text import first_few

SHOWN = 10


@dataclass
class Findings:
    """Problems that stop the work, and notes on what was understood or left out, which do not."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def wrong(self, kind: str, *items: str) -> None:
        """Adds problems of one kind, e.g. `lines that name no photo`; without items the kind says it all."""
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
        """Raises one UserError with a line for each kind of problem, if there is any."""
        lines = [*self.lines(), *more]
        if lines:
            raise UserError("nothing was written:\n  " + "\n  ".join(lines))
