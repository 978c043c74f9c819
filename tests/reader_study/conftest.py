"""What costs every reader study seconds, made cheap: one browser for all tests of a process, quick keys, and a protocol
read once for each of its contents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reader_study import export, study
from reader_study.protocol import Protocol, load_protocol
from reader_study.seal import Key, seal_key

if TYPE_CHECKING:
    from tests.reader_study.reading_browser import Browser


@pytest.fixture(scope="session", autouse=True)
def quick_keys() -> Iterator[None]:
    """Keys that a computer opens at once: half a second for every guess of the passphrase, which commands ask for, is
    half a second of every test. ``test_the_key_of_an_export_is_slow_to_guess`` holds what ships."""

    def seal(path: Path, key: Key, passphrase: str, work_factor: int) -> str:
        return seal_key(path, key, passphrase, min(work_factor, 2**4))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "seal_key", seal)
        yield


@pytest.fixture(scope="session", autouse=True)
def protocols_read_once() -> Iterator[None]:
    """Every command of a study reads its protocol, of which the YAML is the slow part: a file
    that was read before and holds the same gives what it gave."""
    known: dict[tuple[str, bytes], Protocol] = {}

    def load(path: str | Path) -> Protocol:
        if not Path(path).is_file():
            return load_protocol(path)
        key = str(path), Path(path).read_bytes()
        if key not in known:
            known[key] = load_protocol(path)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "load_protocol", load)
        yield


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
