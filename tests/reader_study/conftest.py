"""What costs every reader study seconds, made cheap: one browser for all tests of a process, quick keys, a protocol
read once for each of its contents, and each maximum of a likelihood climbed to once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reader_study import export, study
from reader_study.protocol import Protocol, load_protocol
from reader_study.seal import Key, seal_key
from reader_study.statistics import ordinal_maximum

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from reader_study.arrays import Floats
    from reader_study.statistics.ordinal_likelihood import ClusteredScores
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


@pytest.fixture(scope="session", autouse=True)
def maxima_climbed_once() -> Iterator[None]:
    """Many tests analyse the same ratings. A climb depends on the data, its start and its directions alone, so that one
    from the same place gives what it gave, to the last bit."""
    known: dict[tuple[bytes, ...], OptimizeResult] = {}
    climbed = ordinal_maximum._climbed

    def once(data: ClusteredScores, start: Floats, axes: Floats, *, to_the_top: bool = True) -> OptimizeResult:
        arrays = [data.category, data.design, data.loadings, data.counts, data.places, start, axes]
        key = (*(str(array.shape).encode() + array.tobytes() for array in arrays), bytes([to_the_top]))
        if key not in known:
            known[key] = climbed(data, start, axes, to_the_top=to_the_top)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordinal_maximum, "_climbed", once)
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
