"""The viewer in a real browser over file://: a reader's session from the first page to the signed sheet, offline."""

import functools
import json
import os
import shutil
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reader_study.adjudication import adjudicate
from reader_study.scores import collect
from reader_study.sheet_check import missing
from reader_study.study import open_study
from reader_study.unsealing import log_sheet
from recon.errors import ReconError
from tests.reader_study.reading_browser import errors, verified
from tests.reader_study.study_maker import export_small, protocol_mapping
from tests.reader_study.test_adjudication import hand_back

pytest.importorskip("selenium", reason="selenium is not installed (pip install 'recon[test]')")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


def test_a_session_of_single_images_from_start_to_signed_sheet(browser, tmp_path):
    folder = export_small(tmp_path, cases=2, shape=(24, 320, 320))
    study = open_study(folder)
    package = next(entry for entry in study.packages if entry.reader == "R1")
    browser.requested()  # what the browser asked for by itself when it started
    browser.open(folder / package.folder)
    assert "Test study" not in browser.driver.page_source, "a title may tell the hypothesis"
    assert "2 images for practice" in browser.text(".sheet")
    browser.click("button.primary")
    browser.ready()
    assert browser.text(".top strong") == "Training 1 of 2"
    # Required items: nothing goes on before they are answered.
    browser.press("n")
    assert browser.text(".top strong") == "Training 1 of 2"
    assert "1 answer to go" in browser.text(".hint")
    assert "non-diagnostic" in browser.text(".form")
    browser.press("4", "2")
    browser.press("n")
    assert browser.text(".top strong") == "Training 2 of 2"
    browser.ready()  # keys wait for the image
    browser.press("9", "5", "n")
    browser.ready()
    assert browser.text(".top strong") == "Image 1 of 4"

    assert [mark.text for mark in browser.driver.find_elements(By.CSS_SELECTOR, ".pane .mark")] == ["A", "P", "R", "L"]

    # Scrolling, window, zoom, pan, by keyboard and by mouse.
    before = browser.run("return {...ReconPanes.view}")
    assert before["slice"] == 12
    browser.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP, "+", "]", ".")
    after = browser.run("return {...ReconPanes.view}")
    assert after["slice"] == 13
    assert after["zoom"] > before["zoom"]
    assert after["width"] > before["width"]
    assert after["centre"] < before["centre"]
    canvas = browser.driver.find_element(By.CSS_SELECTOR, ".pane canvas")
    ActionChains(browser.driver).scroll_from_origin(
        webdriver.common.actions.wheel_input.ScrollOrigin.from_element(canvas), 0, 120
    ).perform()
    browser.wait("ReconPanes.view.slice === 14")
    ActionChains(browser.driver).drag_and_drop_by_offset(canvas, 60, 0).perform()
    assert browser.run("return ReconPanes.view.width") > after["width"]
    ActionChains(browser.driver).double_click(canvas).perform()
    reset = browser.run("return {...ReconPanes.view}")
    assert (reset["zoom"], reset["width"], reset["centre"]) == (1, before["width"], before["centre"])

    # A flag by mouse in the middle of the image, one by keyboard; then a comment with awkward characters.
    browser.click("button.flag[data-kind=artifact]")
    ActionChains(browser.driver).click(canvas).perform()
    browser.press("f", Keys.ARROW_RIGHT, Keys.ENTER)
    assert browser.count(".flags li") == 2
    box = browser.driver.find_element(By.TAG_NAME, "textarea")
    box.send_keys('=2+2 "μ", line')
    box.send_keys(Keys.ENTER, "two", Keys.ESCAPE)
    browser.press("3")
    time.sleep(1.1)

    # Closed and opened again: same place, same answers, the clock goes on.
    browser.open(folder / package.folder)
    assert "Continue with image 1 of 4" in browser.text("button.primary")
    browser.click("button.primary")
    browser.ready()
    assert browser.count(".chosen[data-score='3']") == 1
    assert browser.count(".flags li") == 2
    assert browser.driver.find_element(By.TAG_NAME, "textarea").get_attribute("value").startswith("=2+2")
    browser.press("n")
    browser.ready()
    assert browser.text(".top strong") == "Image 2 of 4"
    assert browser.count("aside footer button") == 1, "no way back in this protocol"

    # Speed: 24 slices of 320 x 320, one slice a frame; the drawing must leave most of a 16.7 ms frame free
    # (judged by the quicker frames: the others tell how busy the machine is).
    browser.driver.set_script_timeout(120)
    cost, quick, rate = browser.driver.execute_async_script(
        """const done = arguments[0]; const cost = []; let start = 0; let step = 1;
        const frame = (time) => {
          if (cost.length || start) cost.push(performance.now() - time);
          start ||= time;
          if (cost.length >= 90) {
            cost.sort((a, b) => a - b);
            done([cost[45], cost[15], 1000 * cost.length / (time - start)]);
            return;
          }
          if (ReconPanes.view.slice === 23) step = -1;
          if (ReconPanes.view.slice === 0) step = 1;
          ReconPanes.scroll(step);
          requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame);"""
    )
    print(f"\nmedian drawing time {cost:.1f} ms a frame, {rate:.0f} frames a second")
    if os.getloadavg()[0] < 2 * (os.cpu_count() or 1):  # on an overloaded machine it is only printed
        assert quick < 8

    for _ in range(3):
        browser.ready()
        browser.press("5", "n")
    # The question at the end, then the sheet.
    for key in ("1", "3"):
        browser.ready()
        browser.press(key)
    browser.wait("document.querySelector('[data-save=json]') !== null")
    sheet = verified(study, browser.save("json"))
    same = verified(study, browser.save("csv"))
    assert same.responses == sheet.responses
    assert same.signature != ""
    assert sheet.finished
    assert missing([sheet], study.protocol, [package]) == []
    assert [guess.guess for guess in sheet.guesses] == ["new", "unknown"]
    first = sheet.responses[2]
    assert first.scores == {"overall": 3}
    assert first.comment == '=2+2 "μ", line\ntwo'
    assert [(flag.kind, flag.slice) for flag in first.flags] == [("artifact", 15), ("hallucination", 15)]
    assert abs(first.flags[0].x - 160) <= 1
    assert (first.flags[1].x, first.flags[1].y) == (162, 160)
    assert 1 < first.seconds < 600
    assert [response.order for response in sheet.responses] == [1, 2, 3, 4, 5, 6]
    assert sheet.responses[0].scores == {"overall": 4, "noise": 2}
    assert errors(browser) == []
    addresses = browser.requested()
    assert addresses
    # chrome: is the browser's own empty page, which a slow start leaves in the log; none of these is the network.
    assert {address.split(":")[0] for address in addresses} <= {"file", "data", "blob", "chrome"}


def test_side_by_side_panes_are_linked_and_answers_may_be_changed_where_allowed(browser, tmp_path):
    viewing = {"going_back": True, "flags": ["artifact"]}
    folder = export_small(
        tmp_path, cases=2, mode="side-by-side", viewing=viewing, guess={"presentations": 0}, training_cases=[]
    )
    study = open_study(folder)
    package = next(entry for entry in study.packages if entry.reader == "R2")
    browser.open(folder / package.folder)
    browser.click("button.primary")
    browser.ready()
    assert browser.count(".pane") == 2
    assert [browser.text(f".pane:nth-child({index}) figcaption") for index in (1, 2)] == ["Image A", "Image B"]
    browser.press(Keys.ARROW_UP)
    browser.wait("[...document.querySelectorAll('.pane output')].every((e) => e.textContent.startsWith('1 / 2'))")
    # The two panes show different pixels at one window.
    pictures = browser.run("return [...document.querySelectorAll('.pane canvas')].map((c) => c.toDataURL())")
    assert pictures[0] != pictures[1]
    browser.press("4", "2", "n")
    browser.ready()
    assert browser.text(".top strong") == "Pair 2 of 2"
    browser.click("aside footer button.quiet")
    browser.ready()
    assert browser.text(".top strong") == "Pair 1 of 2"
    assert browser.count(".chosen") == 2
    browser.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, "5", "n")
    browser.ready()
    # A second window takes over; the first one steps back instead of overwriting.
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    browser.open(folder / package.folder)
    second = browser.driver.current_window_handle
    browser.driver.switch_to.window(first)
    browser.wait("document.querySelector('h1')?.textContent.includes('another window')")
    browser.driver.close()
    browser.driver.switch_to.window(second)
    browser.click("button.primary")
    browser.ready()
    browser.press("1", "1", "n")
    browser.wait("document.querySelector('[data-save=json]') !== null")
    sheet = verified(study, browser.save("json"))
    assert sheet.responses[0].scores == {"overall@A": 5, "overall@B": 2}
    assert sheet.responses[1].scores == {"overall@A": 1, "overall@B": 1}
    assert errors(browser) == []


def test_preferences_with_ties_and_a_damaged_image_is_named(browser, tmp_path):
    mapping = protocol_mapping(mode="preference")
    folder = export_small(tmp_path, cases=2, mode="preference", training_cases=[], items=mapping["items"])
    study = open_study(folder)
    package = next(entry for entry in study.packages if entry.reader == "R1")
    browser.open(folder / package.folder)
    browser.click("button.primary")
    browser.ready()
    browser.press("t", "b", "n")
    browser.ready()
    browser.press("a", "n")
    browser.ready()
    assert "Which image is accelerated?" in browser.text(".form")
    browser.press("2")
    browser.ready()
    browser.press("1")
    browser.wait("document.querySelector('[data-save=csv]') !== null")
    sheet = verified(study, browser.save("csv"))
    assert sheet.responses[0].scores == {"overall": "tie", "noise": "B"}
    assert sheet.responses[1].scores == {"overall": "A"}
    assert [guess.guess for guess in sheet.guesses] == ["B", "A"]
    assert errors(browser) == []

    other = next(entry for entry in study.packages if entry.reader == "R2")
    for image in (folder / other.folder / "images").iterdir():
        image.unlink()  # a hard link: the other reader's file stays
    browser.open(folder / other.folder)
    browser.click("button.primary")
    browser.wait("document.querySelector('.loading')?.textContent.includes('missing')")
    assert other.presentations[0].id in browser.text(".loading")
    browser.press("a", "n")
    assert browser.text(".top strong") == "Pair 1 of 2", "what cannot be seen cannot be scored"


def test_a_session_is_saved_and_goes_on_elsewhere(browser, tmp_path):
    folder = export_small(tmp_path, cases=2, training_cases=[], guess={"presentations": 0})
    errors(browser)  # what earlier pages left
    study = open_study(folder)
    package = study.packages[0]
    browser.open(folder / package.folder)
    browser.click("button.primary")
    for score in ("4", "2"):
        browser.ready()
        browser.press(score, "n")
    browser.ready()
    browser.press("5")  # not finished: stays here
    saved = browser.save("so-far")
    assert saved.name.endswith("-so-far.json")
    kept = tmp_path / "inbox" / saved.name
    kept.parent.mkdir()
    shutil.copy(saved, kept)
    partial = verified(study, kept)
    assert [response.scores["overall"] for response in partial.responses] == [4, 2]
    assert partial.finished == ""
    assert len(missing([partial], study.protocol, [package])) == 2
    assert log_sheet(study, partial) is not None

    browser.run("localStorage.clear(); ReconStore.leave()")  # another computer
    changed = tmp_path / "changed.json"
    changed.write_text(kept.read_text().replace('"overall": 4', '"overall": 5'))
    browser.open(folder / package.folder)
    entry = browser.driver.find_element(By.CSS_SELECTOR, "input[type=file]")
    entry.send_keys(str(changed))
    browser.wait("document.querySelector('.resume')?.textContent.includes('changed after it was saved')")
    assert browser.text("button.primary") == "Begin"
    entry.send_keys(str(kept))
    browser.wait("document.querySelector('button.primary').textContent.includes('Continue with image 3 of 4')")
    browser.click("button.primary")
    for score in ("3", "1"):
        browser.ready()
        browser.press(score, "n")
    browser.wait("document.querySelector('[data-save=json]') !== null")
    shutil.copy(browser.save("json"), kept.parent)
    # Both files lie in the folder: the finished one counts, and the log takes it after the unfinished one.
    (whole,) = collect(study, [kept.parent]).sheets
    assert [response.scores["overall"] for response in whole.responses] == [4, 2, 3, 1]
    assert log_sheet(open_study(folder), whole) is not None
    assert errors(browser) == []


def test_exchanged_images_are_not_shown_and_not_accepted(browser, tmp_path):
    """Two image files exchanged in a reader's copy: the sheet was valid."""
    folder = export_small(tmp_path, cases=3, training_cases=[], guess={"presentations": 0})
    study = open_study(folder)
    package = study.packages[0]
    images = sorted((folder / package.folder / "images").iterdir())
    text = (folder / package.folder / "package.js").read_text()
    shown = json.loads(text.removeprefix("reconPackage(").rstrip(");\n"))["presentations"]
    first, second = (folder / package.folder / "images" / f"{entry['images'][0]}.js" for entry in shown[:2])
    assert {first, second} <= set(images)
    contents = first.read_bytes(), second.read_bytes()
    for path, content in zip((second, first), contents, strict=True):
        path.unlink()
        path.write_bytes(content)
    browser.open(folder / package.folder)
    browser.click("button.primary")
    browser.wait("document.querySelector('.loading')?.textContent.includes('not the one that was exported')")
    browser.press("4", "n")
    assert browser.text(".top strong") == "Image 1 of 6", "what was not exported cannot be scored"

    # Whoever changes the hashes in the package too is found by the sheet.
    marks = [entry["sha256"][0] for entry in shown[:2]]
    (folder / package.folder / "package.js").write_text(
        text.replace(marks[0], "*").replace(marks[1], marks[0]).replace("*", marks[1])
    )
    browser.open(folder / package.folder)
    browser.click("button.primary")
    for _ in shown:
        browser.ready()
        browser.press("4", "n")
    browser.wait("document.querySelector('[data-save=json]') !== null")
    with pytest.raises(ReconError, match=r"presentation 1 \(\w+\): the images shown are not those that were exported"):
        verified(study, browser.save("json"))


def test_plain_http_is_named_before_the_first_image(browser, tmp_path):
    """Saving failed after all readings."""
    folder = export_small(tmp_path, cases=2)
    package = folder / open_study(folder).packages[0].folder
    handler = functools.partial(QuietHandler, directory=str(package))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.driver.get(f"http://reading.test:{server.server_port}/start.html")
        browser.wait("document.querySelector('h1') !== null")
        assert "cannot be used from this address" in browser.text("h1")
        assert "https" in browser.text("#page")
        assert browser.count("button") == 0
        browser.driver.get("about:blank")
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Files without a word on standard error."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


def test_an_adjudicator_is_asked_the_adjudicated_items_only(browser, tmp_path):
    rule = {"reader": "A1", "experience": "20 years", "items": ["overall"], "difference": 1}
    folder = export_small(tmp_path, cases=2, adjudication=rule, training_cases=[])
    for reader, score in (("R1", 3), ("R2", 5)):
        hand_back(folder, reader, lambda _, score=score: {"overall": score})
    adjudicate(open_study(folder), collect(open_study(folder), [folder / "sheets"]).sheets)
    study = open_study(folder)
    package = study.packages[-1]
    browser.open(folder / package.folder)
    browser.click("button.primary")
    for number in range(1, 5):
        browser.ready()
        assert browser.text(".top strong") == f"Image {number} of 4"
        assert "Overall quality" in browser.text(".form")
        assert "Noise" not in browser.text(".form")
        browser.press("4", "n")
    browser.wait("document.querySelector('[data-save=json]') !== null")
    sheet = verified(study, browser.save("json"))
    assert missing([sheet], study.protocol, [package]) == []
    assert [row.scores for row in sheet.responses] == [{"overall": 4}] * 4
