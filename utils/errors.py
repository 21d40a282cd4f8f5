"""The error of a person: what they can fix. Every other exception is a bug and keeps its traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike


class UserError(Exception):
    """What the user can fix: shown as one line, with status 1 and without a traceback.

    what: the value or state that is wrong; where: the file, line or option that holds it; rule: what is valid;
    remedy: what to do, naming an option or a command that exists. The message joins those that are given.
    """

    def __init__(self, what: str, where: str | PathLike[str] = "", rule: str = "", remedy: str = "") -> None:
        self.what, self.where, self.rule, self.remedy = what, str(where), rule, remedy
        head = f"{where}: {what}" if self.where else what
        super().__init__(": ".join(part for part in (head, rule, remedy) if part))

    def at(self, where: str | PathLike[str]) -> "UserError":
        """The same error where a caller knows more of its place: the file, or the item that was worked on."""
        place = f"{where}: {self.where}" if self.where else where
        return UserError(self.what, place, self.rule, self.remedy)

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str, str]]:
        """Its four parts: an error of a worker process arrives as it left."""
        return type(self), (self.what, self.where, self.rule, self.remedy)


@contextmanager
def as_user_error(kind: type[Exception], where: str | PathLike[str] = "") -> Iterator[None]:
    """Turns errors of `kind` into UserErrors that name the file or option that they are about."""
    try:
        yield
    except kind as error:
        raise UserError(str(error), where) from error
