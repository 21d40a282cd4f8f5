"""Orders the tests: files with slow ones come first, so that parallel processes finish together."""

from collections.abc import Iterator

import pytest

from utils.runs.segmentation import notes_kept


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_in_the_project() -> Iterator[None]:
    """Programs that tests run in a process of their own note in the project where they wrote to."""
    with notes_kept():
        yield
