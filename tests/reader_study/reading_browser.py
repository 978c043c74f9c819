"""A headless browser in which the tests read like a reader, and what they check in the sheet that comes back."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reader_study.sheet import Sheet
from reader_study.sheet_check import check_sheet
from reader_study.sheet_files import read_sheet
from reader_study.study import Study

pytest.importorskip("selenium", reason="selenium is not installed (pip install 'recon[test]')")

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1440,900"),
    # A name that is not this machine's own, so that the browser takes plain http from it for insecure.
    *("--host-resolver-rules=MAP reading.test 127.0.0.1", "--no-proxy-server"),
]


class Browser:
    """A headless browser with the few gestures that a reader makes."""

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def open(self, folder: Path) -> None:
        """A package, or a page of its own."""
        self.driver.get((folder / "start.html" if folder.is_dir() else folder).as_uri())

    def wait(self, condition: str) -> Any:
        return WebDriverWait(self.driver, 90, 0.03).until(lambda driver: driver.execute_script(f"return {condition}"))

    def ready(self) -> None:
        self.wait("ReconPanes.view !== null && document.querySelector('.pane canvas') !== null")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.find_element(By.TAG_NAME, "body").send_keys(key)

    def click(self, selector: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def text(self, selector: str) -> str:
        return str(self.driver.find_element(By.CSS_SELECTOR, selector).text)

    def count(self, selector: str) -> int:
        return len(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def save(self, kind: str) -> Path:
        for old in self.downloads.iterdir():
            old.unlink()
        # Belongs to the window, not to the browser: set anew for the window that is open now.
        behaviour = {"behavior": "allow", "downloadPath": str(self.downloads)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        self.click(f"[data-save={kind}]")
        for _ in range(1200):
            found = list(self.downloads.glob(f"*.{'json' if kind == 'so-far' else kind}"))
            if found and found[0].stat().st_size:
                return found[0]
            time.sleep(0.05)
        raise AssertionError("nothing was downloaded")

    def requested(self) -> set[str]:
        """Every address that the page asked for since the last call."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}


@contextmanager
def started_browser(profile: Path, downloads: Path) -> Iterator[Browser | None]:
    """A Chromium with its own empty ``profile``; None where there is none."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        yield None
        return
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    try:
        yield Browser(driver, downloads)
    finally:
        driver.quit()


def verified(study: Study, path: Path) -> Sheet:
    sheet = read_sheet(path)
    check_sheet(sheet, study.protocol, study.packages)
    return sheet


def errors(browser: Browser) -> list[str]:
    return [entry["message"] for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"]
