"""One browser for all tests of a process: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.reader_study.reading_browser import Browser


@pytest.fixture(scope="session")
def browser_if_any(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser | None]:
    from tests.reader_study.reading_browser import started_browser

    with started_browser(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads")) as browser:
        yield browser


@pytest.fixture
def browser(browser_if_any: Browser | None) -> Iterator[Browser]:
    """It comes without what earlier pages left in its logs, and is left on an empty page, which computes nothing."""
    from tests.reader_study.reading_browser import errors

    if browser_if_any is None:
        pytest.skip("chromium or chromedriver is not installed (Debian packages chromium, chromium-driver)")
    browser_if_any.requested()
    errors(browser_if_any)
    yield browser_if_any
    browser_if_any.driver.get("about:blank")
