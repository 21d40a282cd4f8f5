"""Divides the items of a step over the processes of torchrun, for steps that need no torch.

The processes send JSON to each other through files in a folder that all of them see, the one they write their results
to. utils.runtime.process is the same for steps with a network.
"""

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np

from utils.errors import UserError
from utils.files.atomic import write_json
from utils.files.disk import make_folder, remove_file
from utils.files.lock import hold
from utils.runtime.rank import Rank, read_rank

MEETING = ".processes"  # folder of the messages
LOOK, SIGN = 0.1, 5.0  # seconds between looks at the others' files, and between signs of life
PATIENCE = 180.0  # seconds without a sign of life; network file systems show new files late

ItemT = TypeVar("ItemT")


class SharedWork:
    """One process of a step whose items are divided: its rank, the number of processes, and those on this machine."""

    def __init__(self, place: Rank, folder: Path) -> None:
        self.rank, self.world_size, self.local_size = place.rank, place.world_size, place.local_size
        self._mail = _Mail(place, folder) if place.world_size > 1 else None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def mapping(self) -> Mapping[str, Any]:
        """Arguments of parallel_map: the processes on this machine share its cores, and the main one shows the bar."""
        return {"programs": self.local_size, "quiet": not self.is_main}

    def own(self, items: Sequence[ItemT]) -> Sequence[ItemT]:
        """Return the items of this process: every world_size-th one."""
        return items[self.rank :: self.world_size]

    def remaining(self, names: Sequence[str], done: Iterable[str]) -> Sequence[str]:
        """Return this process's part of the names that are done by no process, each of which gives its own."""
        everywhere = set(self.from_main(sorted(set().union(*self.gather(list(done))))))
        return self.own([name for name in names if name not in everywhere])

    def from_main(self, content: Any) -> Any:
        """Return the main process's content (JSON) in every process. The others wait for it."""
        if self._mail is None:
            return content
        if not self.is_main:
            return self._mail.receive(0)
        self._mail.send(content)
        return content

    def gather(self, content: Any) -> list[Any]:
        """Return every process's content (JSON) by rank, in the main process, which waits; [] in the others."""
        if self._mail is None:
            return [content]
        if not self.is_main:
            self._mail.send(content)
            return []
        return [content, *(self._mail.receive(other) for other in range(1, self.world_size))]

    def gather_items(self, values: Sequence[ItemT]) -> list[ItemT]:
        """Join one value (JSON) per item of own() in the order of all items, in the main process; [] in the others."""
        parts = self.gather(list(values))
        longest = max(map(len, parts), default=0)
        return [part[index] for index in range(longest) for part in parts if index < len(part)]

    def add_up(self, counts: np.ndarray) -> None:
        """Replace the counts, integers of one shape, by the sum over all processes, in the main process."""
        if parts := self.gather(counts.tolist()):
            counts[...] = sum(np.asarray(part, counts.dtype) for part in parts)

    def wait_for_all(self) -> None:
        """Let the main process wait until all have called this."""
        self.gather(None)

    def barrier(self) -> None:
        """Wait, in every process, until all have called this."""
        self.wait_for_all()
        self.from_main(None)


@contextmanager
def share_work(folder: Path, place: Rank | None = None) -> Iterator[SharedWork]:
    """Join the processes started by torchrun, whose messages go through `folder`. Without torchrun: one process.

    place: default that of the environment. Raises UserError if another job uses the folder, or if a process shows no
    sign of life for PATIENCE seconds: torchrun ends the other processes when one fails, but not those of a machine that
    is cut off.
    """
    place = place or read_rank()
    if place.world_size == 1:
        yield SharedWork(place, folder)
        return
    meeting = folder / MEETING
    with hold(meeting):
        make_folder(meeting)
        work = SharedWork(place, meeting)
        mail = work._mail
        assert mail is not None
        with mail.delivered():
            work.from_main(None)  # a process that only sends must not end before the main one believes it
            yield work
            if work.is_main:
                work.wait_for_all()
        if work.is_main:
            for path in meeting.glob("*.json"):
                remove_file(path)
        else:
            mail.send(None)  # the last file that this process writes
    if work.is_main:
        with suppress(OSError):  # a process of another job, which the lock refused, is still writing there
            meeting.rmdir()


class _Mail:
    """The messages of one process, and what it knows about those it waits for.

    Files of a killed job may lie in the folder, so that each process draws a token at its start, and believes another
    only after that one has read its token. RANK.json is the sign of life, RANK.N.json message N.
    """

    def __init__(self, place: Rank, folder: Path) -> None:
        self._place, self._folder, self._token = place, folder, secrets.token_hex(8)
        self._others = range(1, place.world_size) if place.rank == 0 else (0,)
        self._signs: dict[int, dict[str, Any]] = {}
        self._seen_at = dict.fromkeys(self._others, time.monotonic())
        self._sent, self._received = 0, dict.fromkeys(self._others, 0)
        self._failure: Exception | None = None
        self._end = Event()

    @contextmanager
    def delivered(self) -> Iterator[None]:
        """Give signs of life and read those of the others, beside the block."""
        thread = Thread(target=self._live, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def send(self, content: Any) -> None:
        name = f"{self._place.rank}.{self._sent}.json"
        write_json(self._folder / name, {"token": self._token, "content": content}, indent=None)
        self._sent += 1

    def receive(self, other: int) -> Any:
        """Return the next message of another process, and wait for it. Raises UserError."""
        path = self._folder / f"{other}.{self._received[other]}.json"
        began = time.monotonic()
        while True:
            if self._failure is not None:
                raise self._failure
            sign = self._signs.get(other, {})
            if sign.get("seen", {}).get(str(self._place.rank)) == self._token:
                message = _read(path)
                if message is not None and message.get("token") == sign["token"]:
                    self._received[other] += 1
                    return message["content"]
            if time.monotonic() - max(began, self._seen_at[other]) > PATIENCE:
                raise UserError(
                    f"no sign of process {other} of {self._place.world_size} for {PATIENCE:g} s",
                    self._folder,
                    "all machines must see this folder",
                    "check the other machines, then run the same command again",
                )
            time.sleep(LOOK)

    def _live(self) -> None:
        try:
            written, number = -SIGN, 0
            while True:
                news = self._look()
                if news or time.monotonic() - written > SIGN:
                    seen = {str(other): sign["token"] for other, sign in self._signs.items()}
                    sign = {"job": self._place.job, "token": self._token, "seen": seen, "number": number}
                    write_json(self._folder / f"{self._place.rank}.json", sign, indent=None)
                    written, number = time.monotonic(), number + 1
                if self._end.wait(LOOK):
                    return
        except Exception as error:
            self._failure = error  # raised by receive

    def _look(self) -> bool:
        """Read the others' signs of life. Returns whether a token is new."""
        news = False
        for other in self._others:
            sign = _read(self._folder / f"{other}.json")
            if sign is None or sign.get("job") != self._place.job:
                continue
            before = self._signs.get(other)
            if before != sign:
                self._seen_at[other] = time.monotonic()
                self._signs[other] = sign
            news = news or before is None or before["token"] != sign["token"]
        return news


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a file that another process writes and may replace or remove.

    None if it is not there, or is something else than a message.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
