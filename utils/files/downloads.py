"""Downloads by the libraries that offer weights: given up after seconds where there is no network."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SECONDS = 10  # that a server may stay silent


@contextmanager
def impatient_downloads() -> Iterator[None]:
    """Within it, connections time out after SECONDS, and Hugging Face's hub works from its cache if out of reach.

    Its own client retries for a minute.
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
    """Whether a server answers at all, directly or by the environment's proxy."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False
