"""Lesions marked, rated and removed in a real browser, and what the sheet has of them."""

import pytest
import yaml

from reader_study.export import export_study
from reader_study.study import freeze, open_study
from tests.reader_study.sequences_maker import write_sequences
from tests.reader_study.study_maker import PASSPHRASE
from tests.reader_study.test_reader_localisation import CASES, LESIONS, lesion_places, mapping, shown_at, write_masks

pytest.importorskip("selenium", reason="selenium is not installed (pip install 'recon[test]')")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from reader_study.lesion_truth import read_lesions
from reader_study.localised import locate
from reader_study.observations import from_sheets
from reader_study.worklists import names
from tests.reader_study.reading_browser import errors, verified
from tests.reader_study.study_maker import key_of


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A study whose packages are read below, and only read; its lesion masks lie in ``masks`` beside it."""
    folder = tmp_path_factory.mktemp("marks")
    changes = {"sessions": {"count": 1, "separation": 0}, "training_cases": [], "viewing": {"flags": ["artifact"]}}
    (folder / "plan.yaml").write_text(yaml.safe_dump(mapping(**changes)))
    study, _ = freeze(folder / "plan.yaml", folder / "study")
    images, lesions = write_sequences(folder / "images", CASES), write_masks(folder / "masks")
    assert export_study(study.folder, images, PASSPHRASE, lesions=lesions, work_factor=2**4).passed
    return study.folder


def test_lesions_are_marked_rated_and_removed(browser, exported):
    """No way on without a rating; a mark taken away; the places in the sheet are those that were clicked."""
    folder = exported
    study = open_study(folder)
    package = study.packages[0]
    rows = {row.id: row for row in key_of(folder).presentations}
    browser.open(folder / package.folder)
    assert "Mark every acute infarct" in browser.text(".scales")
    browser.click("button.primary")
    browser.ready()
    for entry in package.presentations:
        browser.wait(f"ReconSession.current().id === '{entry.id}' && ReconDesk.shown().length > 0")
        case = rows[entry.id].case
        for number, place in enumerate(lesion_places(case)[:1]):
            z, y, x = shown_at("DWI", place)
            # The pane is led to the lesion's slice, and the pixel's middle is clicked.
            at = browser.run(
                f"""const pane = ReconPanes.panes[1]; ReconPanes.lead(pane); ReconPanes.goTo({round(z)});
                const box = pane.canvas.getBoundingClientRect(); const [, row, column] = pane.image.spacing;
                const fit = Math.min(box.width / pane.reach[0], box.height / pane.reach[1]);
                return [({round(x)} + .5 - pane.image.columns / 2) * column * fit + pane.offset[0] * fit,
                        ({round(y)} + .5 - pane.image.rows / 2) * row * fit + pane.offset[1] * fit];"""
            )
            browser.press("m")
            pane = browser.driver.find_elements(By.CSS_SELECTOR, ".pane canvas")[1]
            ActionChains(browser.driver).move_to_element_with_offset(pane, round(at[0]), round(at[1])).click().perform()
            assert browser.count(".lesions li") == number + 1
            assert "2 answers to go" in browser.text(".hint")
            browser.press("3")
            assert browser.count(".lesions [aria-checked='true']") == 1
        if entry.order == 1:  # another, by keyboard in the leading pane, is rated by mouse and taken away
            before = browser.count(".lesions li")
            browser.press("m", Keys.ARROW_RIGHT, Keys.ENTER)
            assert browser.count(".lesions li") == before + 1
            browser.press("n")
            assert browser.run("return ReconSession.current().order") == 1, "a mark without a rating holds"
            browser.driver.find_elements(By.CSS_SELECTOR, ".lesions li")[-1].find_element(
                By.CSS_SELECTOR, "[data-rating='1']"
            ).click()
            browser.driver.find_elements(By.CSS_SELECTOR, ".lesions .remove")[-1].click()
            assert browser.count(".lesions li") == before
            browser.press("f", Keys.ENTER)  # a flag is something else
            assert (browser.count(".lesions li"), browser.count(".flags:not(.lesions) li")) == (before, 1)
        browser.press("4", "n")
    sheet = verified(study, browser.save("json"))
    assert verified(study, browser.save("csv")).payload() == sheet.payload()
    assert errors(browser) == []
    marks = [flag for row in sheet.responses for flag in row.flags if flag.kind == "infarcts"]
    assert len(marks) == 2 * len(LESIONS)
    assert {(mark.sequence, mark.confidence) for mark in marks} == {("DWI", 3)}
    lesions = {case: read_lesions(folder.parent / "masks" / f"{case}.nii.gz", case) for case in CASES}
    key = key_of(folder)
    found = from_sheets(study.protocol, key.presentations, [sheet], (), ("R1",))
    located = locate(study.protocol, found.marked, found.readers, lesions, key.images)
    assert [judged.distance for judged in located.marks] == [0.0] * len(marks)


def test_lesions_are_typed_beside_the_pacs(browser, exported):
    """By image number, column and row: out of the image, unrated and taken away marks, and where the others lie."""
    folder = exported
    study = open_study(folder)
    package = study.packages[1]  # what a browser has of the first one's session it would offer to go on with
    rows = {row.id: row for row in key_of(folder).presentations}
    browser.open(folder / "worklists" / names(package)[1])
    assert "type image, column and row" in browser.text(".controls")
    browser.click("button.primary")

    tried = False

    def typed(*values):
        for field, value in zip(browser.driver.find_elements(By.CSS_SELECTOR, ".typed input"), values, strict=True):
            field.clear()
            field.send_keys(str(value))
        browser.click("[data-add]")

    for entry in package.presentations:
        browser.wait(f"ReconSession.current().id === '{entry.id}'")
        browser.press("o")
        series = browser.driver.find_element(By.CSS_SELECTOR, ".typed select")
        places = lesion_places(rows[entry.id].case)[:1]
        for place in places:
            z, y, x = (round(float(value)) for value in shown_at("DWI", place))
            Select(series).select_by_visible_text("DWI")
            if not tried:
                slices = entry.shapes[study.protocol.sequence_names.index("DWI")][0]
                typed(slices + 1, x, y)
                assert f"from 1: 1 to {slices}" in browser.text(".typed .hint")
                assert browser.count(".lesions li") == 0
            typed(z + 1, x, y)
            assert f"image {z + 1}, DWI, column {x}, row {y}" in browser.text(".lesions li")
            browser.run("document.activeElement.blur()")
            if not tried:
                browser.press("n")
                assert browser.run("return ReconSession.current().id") == entry.id, "a mark without a rating holds"
            browser.press("3")
            tried = True
        if entry.order == 1:
            browser.press("m")
            typed(1, 0.5, 2)
            browser.driver.find_elements(By.CSS_SELECTOR, ".lesions .remove")[-1].click()
            assert browser.count(".lesions li") == len(places)
        browser.run("document.activeElement.blur()")
        browser.press("4", "n")
    sheet = verified(study, browser.save("json"))
    assert verified(study, browser.save("csv")).payload() == sheet.payload()
    assert errors(browser) == []
    assert package.on_pacs(sheet) == len(sheet.responses)
    lesions = {case: read_lesions(folder.parent / "masks" / f"{case}.nii.gz", case) for case in CASES}
    key = key_of(folder)
    found = from_sheets(study.protocol, key.presentations, [sheet], (), (package.reader,))
    located = locate(study.protocol, found.marked, found.readers, lesions, key.images)
    assert [judged.distance for judged in located.marks] == [0.0] * (2 * len(LESIONS))
