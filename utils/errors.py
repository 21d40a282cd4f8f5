"""The exception for mistakes that the user can fix. Every other exception is a bug and keeps its traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike


class UserError(Exception):
    """A mistake that the user can fix: printed as one line without a traceback, exit status 1.

    what: the wrong value or state; where: the file, line or option it is in; rule: what is valid; remedy: what to do,
    naming an existing option or command. The message joins the non-empty parts.
    """

    def __init__(self, what: str, where: str | PathLike[str] = "", rule: str = "", remedy: str = "") -> None:
        self.what, self.where, self.rule, self.remedy = what, str(where), rule, remedy
        head = f"{where}: {what}" if self.where else what
        super().__init__(": ".join(part for part in (head, rule, remedy) if part))

    def at(self, where: str | PathLike[str]) -> "UserError":
        """Return the same error with `where` (the file or item being processed) in front of its location."""
        location = f"{where}: {self.where}" if self.where else where
        return UserError(self.what, location, self.rule, self.remedy)

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str, str]]:
        """Pickle the four parts, so that an error raised in a worker process arrives unchanged."""
        return type(self), (self.what, self.where, self.rule, self.remedy)


@contextmanager
def as_user_error(kind: type[Exception], where: str | PathLike[str] = "") -> Iterator[None]:
    """Convert exceptions of type `kind` to UserErrors that name `where`, a file or an option."""
    try:
        yield
    except kind as error:
        raise UserError(str(error), where) from error
