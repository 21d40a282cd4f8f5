"""Downloads of weights by libraries, with a short timeout where there is no network."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SECONDS = 10  # timeout of a connection


@contextmanager
def impatient_downloads() -> Iterator[None]:
    """Time out connections after SECONDS. If Hugging Face's hub is out of reach, its client uses its cache only.

    Otherwise the client would retry for a minute.
    """
    from huggingface_hub import constants  # here: only downloads need it

    before = socket.getdefaulttimeout(), constants.HF_HUB_OFFLINE
    socket.setdefaulttimeout(SECONDS)
    try:
        constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE or not is_reachable(constants.ENDPOINT)
        yield
    finally:
        socket.setdefaulttimeout(before[0])
        constants.HF_HUB_OFFLINE = before[1]


def is_reachable(url: str) -> bool:
    """Return whether a server answers at all, directly or through the environment's proxy."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False
