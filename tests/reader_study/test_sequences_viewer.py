"""Several sequences in a real browser: linked scrolling by position, a mark in any of them, all hashes in the sheet."""

import pytest
import yaml

from reader_study.export import export_study
from reader_study.study import freeze, open_study
from tests.reader_study.sequences_maker import sequences_mapping, write_sequences
from tests.reader_study.study_maker import PASSPHRASE

pytest.importorskip("selenium", reason="selenium is not installed (pip install 'recon[test]')")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.reader_study.reading_browser import errors, verified

SLICES = "return ReconPanes.panes.map((pane) => pane.slice)"


def exported(folder, **changes):
    (folder / "plan.yaml").write_text(yaml.safe_dump(sequences_mapping(cases=2, **changes)))
    study, _ = freeze(folder / "plan.yaml", folder / "study")
    pattern = write_sequences(folder / "images", [*study.protocol.case_ids, *study.protocol.training_cases])
    assert export_study(study.folder, pattern, PASSPHRASE, work_factor=2**4).passed
    return study.folder


def test_sequences_scroll_together_by_position_and_all_are_in_the_sheet(browser, tmp_path):
    """FLAIR has four slices of 10 mm from -20 mm, DWI and ADC seven of 5 mm from -15 mm."""
    folder = exported(tmp_path)
    study = open_study(folder)
    package = study.packages[0]
    browser.open(folder / package.folder)
    assert "FLAIR, DWI, ADC together" in browser.text(".sheet")
    browser.click("button.primary")
    browser.ready()
    captions = [one.text for one in browser.driver.find_elements(By.CSS_SELECTOR, ".pane figcaption")]
    assert captions == ["FLAIR", "DWI", "ADC"]
    # FLAIR leads: its slices at -20, -10, 0 and 10 mm; the first lies below all of DWI, whose nearest is shown.
    browser.press(Keys.HOME)
    assert browser.run(SLICES) == [0, 0, 0]
    assert browser.run("return ReconPanes.panes[1].away") == pytest.approx(5, abs=0.01)
    browser.wait("document.querySelectorAll('.pane output')[1].textContent.includes('+5.0 mm')")
    browser.press(Keys.ARROW_DOWN)
    assert browser.run(SLICES) == [1, 1, 1]
    browser.press(Keys.ARROW_DOWN)
    assert browser.run(SLICES) == [2, 3, 3]
    browser.press(Keys.END)
    assert browser.run(SLICES) == [3, 5, 5]
    # The pane under the pointer leads: DWI's own slices, FLAIR the nearest, ADC, of the same grid, the same slice.
    panes = browser.driver.find_elements(By.CSS_SELECTOR, ".pane canvas")
    ActionChains(browser.driver).move_to_element(panes[1]).perform()
    browser.wait("document.querySelectorAll('.pane')[1].classList.contains('leading')")
    browser.press(Keys.END)
    assert browser.run(SLICES) == [3, 6, 6]
    browser.press(Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_UP)
    assert browser.run(SLICES) == [2, 3, 3]
    assert browser.run("return Number(document.querySelector('input.slices').max)") == 6
    # One place: the middle of DWI's pane is the same place in FLAIR, and each sequence has its own window.
    one, other = browser.run(
        """const [flair, dwi] = ReconPanes.panes.map((pane) => pane.image);
        return [ReconLink.place(dwi, [3, 10, 8], flair), ReconLink.place(flair, [2, 15.5, 12.5], dwi)];"""
    )
    # From the middle of the grids: DWI's (13.5, 12.5) by 6 mm and FLAIR's (21.5, 19.5) by 4 mm.
    assert one == pytest.approx([2, 21.5 - 3.5 * 6 / 4, 19.5 - 4.5 * 6 / 4], abs=0.01)
    assert other == pytest.approx([3, 13.5 - 6 * 4 / 6, 12.5 - 7 * 4 / 6], abs=0.01)
    before = browser.run("return ReconPanes.panes.map((pane) => pane.window.width)")
    browser.press("]")
    after = browser.run("return ReconPanes.panes.map((pane) => pane.window.width)")
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] > before[1]

    browser.press("4", "n")
    browser.ready()
    browser.press("4", "n")
    browser.ready()
    assert browser.text(".top strong") == "Image 1 of 4"
    # A spot in DWI by mouse, another by keyboard in ADC; the list leads back to the slice and the pane.
    panes = browser.driver.find_elements(By.CSS_SELECTOR, ".pane canvas")
    browser.click("button.flag[data-kind=artifact]")
    ActionChains(browser.driver).click(panes[1]).perform()
    browser.press("f", "b", Keys.ENTER)
    marked = [one.text for one in browser.driver.find_elements(By.CSS_SELECTOR, ".flags button.link")]
    assert [text.split(", ")[-1] for text in marked] == ["DWI", "ADC"]
    browser.press(Keys.HOME)
    browser.driver.find_elements(By.CSS_SELECTOR, ".flags button.link")[1].click()
    assert browser.run(SLICES)[2] == int(marked[1].split("slice ")[1].split(",")[0]) - 1
    for _ in range(4):
        browser.press("4", "n")
        browser.wait("ReconSession.screen !== 'reading' || ReconDesk.shown().length > 0")
    for _ in range(2):
        browser.ready()
        browser.press("3")
    sheet = verified(study, browser.save("json"))
    expected = {entry.id: entry.images for entry in package.presentations}
    assert len(sheet.responses) == 6
    assert all(row.images == expected[row.presentation] and len(row.images) == 3 for row in sheet.responses)
    first = next(row for row in sheet.responses if row.flags)
    assert [flag.sequence for flag in first.flags] == ["DWI", "ADC"]
    assert verified(study, browser.save("csv")).responses == sheet.responses
    assert errors(browser) == []


def test_pairs_of_sequences_stand_one_above_the_other(browser, tmp_path):
    folder = exported(tmp_path, mode="side-by-side", guess={"presentations": 0}, training_cases=[])
    study = open_study(folder)
    package = study.packages[0]
    browser.open(folder / package.folder)
    browser.click("button.primary")
    browser.ready()
    captions = [one.text for one in browser.driver.find_elements(By.CSS_SELECTOR, ".pane figcaption")]
    assert captions == [f"Image {side}, {name}" for side in "AB" for name in ("FLAIR", "DWI", "ADC")]
    tops = browser.run("return [...document.querySelectorAll('.pane')].map((pane) => pane.getBoundingClientRect().top)")
    assert len(set(tops[:3])) == len(set(tops[3:])) == 1
    assert tops[0] < tops[3]
    browser.press(Keys.END)
    assert browser.run(SLICES) == [3, 5, 5, 3, 5, 5]
    browser.press("4", "4", "n")
    browser.ready()
    browser.press("4", "5", "n")
    sheet = verified(study, browser.save("json"))
    assert all(len(row.images) == 6 for row in sheet.responses)
    assert errors(browser) == []
