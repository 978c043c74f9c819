"use strict";

// The course of a session: instructions, training, reading, the question at the end, the score sheet.
const ReconViewer = (() => {
  const page = document.getElementById("page");
  let setup = null;
  let state = null;
  let screen = ""; // instructions, reading, guessing, done
  let shownAt = 0; // performance.now() when the clock of this presentation last started; 0 while it stands
  let slider = null;
  let overlay = null;
  let parts = {};
  let turn = 0; // counts presentations opened, so that a late image is not shown in the wrong place

  const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const presentations = () => setup.presentations;
  const current = () => presentations()[state.position];
  const guesses = () => presentations().filter((presentation) => presentation.guess);
  const unanswered = () => guesses().find((presentation) => !(presentation.id in state.guesses));
  const finished = () => state.position >= presentations().length;
  const trainings = () => presentations().filter((presentation) => presentation.training).length;
  const paired = () => setup.mode !== "independent";

  function start(packageSetup) {
    setup = packageSetup;
    document.title = `${setup.title} – reader ${setup.reader}`;
    if (!window.crypto || !crypto.subtle) {
      page.replaceChildren(notice("This browser cannot sign score sheets.",
        "Please open the page in a current Chrome, Edge, Firefox or Safari."));
      return;
    }
    state = ReconStore.open(setup);
    document.addEventListener("keydown", keyboard);
    window.addEventListener("storage", (event) => ReconStore.concerns(event) && elsewhere());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) stopClock();
      else if (screen === "reading") startClock();
      ReconStore.save();
    });
    window.addEventListener("pagehide", () => {
      stopClock();
      ReconStore.save();
    });
    setInterval(tick, 1000);
    instructions();
  }

  function notice(title, text) {
    return element("div", { class: "sheet narrow" }, element("h1", {}, title), element("p", {}, text));
  }

  // Two windows would overwrite each other's answers: the one that was opened first steps back.
  function elsewhere() {
    stopClock();
    screen = "elsewhere";
    ReconPanes.clear();
    ReconStore.leave();
    page.replaceChildren(notice("This study is open in another window.",
      "Your answers are kept. Please go on there, or close the other window and reload this page."));
  }

  // ---- instructions ------------------------------------------------------------------------------------------

  const controls = () => [
    ["Slices", "mouse wheel", "↑ ↓"],
    ["Window", "drag with the left button", "[ ] width   , . level"],
    ["Zoom", "drag with the right button, or Ctrl + wheel", "+ −"],
    ["Move", "drag with the middle button, or Shift + left", "Shift + arrows"],
    ["Reset view", "double click", "R"],
    ["Answer", "click", setup.mode === "preference" ? "A, B, T (tie)" : "digits; ← → other question"],
    ["Mark a spot", "choose the kind, click in the image", "F, G …; arrows, Enter, Esc"],
    ["Next", "button at the lower right", "N"],
  ];

  function instructions() {
    screen = "instructions";
    stopClock();
    const paragraphs = setup.instructions.split(/\n\s*\n/).map((text) => text.trim()).filter(Boolean);
    const main = presentations().length - trainings();
    const noun = paired() ? "pairs of images" : "images";
    const resuming = state.instructed;
    const ladder = [0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100].map((percent) => {
      const patch = element("i", {});
      const grey = Math.round(2.55 * percent);
      patch.style.background = `rgb(${grey},${grey},${grey})`;
      return patch;
    });
    page.replaceChildren(element("div", { class: "sheet" },
      element("header", {},
        element("p", { class: "eyebrow" }, `Reader ${setup.reader} · session ${setup.session} of ${setup.sessions}`),
        element("h1", {}, setup.title)),
      element("div", { class: "columns" },
        element("div", {},
          ...paragraphs.map((text) => element("p", {}, text)),
          element("h2", {}, "What to expect"),
          element("p", {}, trainings()
            ? `${trainings()} ${noun} for practice come first; they are not analysed. Then ${main} ${noun} follow in random order.`
            : `${main} ${noun} follow in random order.`),
          element("p", {}, setup.viewing.going_back
            ? "You may go back and change an answer until you save the final score sheet."
            : "An answer is final once you press Next: this study does not allow going back."),
          element("p", {}, "Every answer is kept in this browser at once; you may close the page and go on later, on this "
            + "computer and in this browser. The time spent on each image is recorded, and pauses while the page is hidden. "
            + "Nothing leaves this computer: at the end you save a signed score sheet and hand it to the coordinator.")),
        element("div", {},
          element("h2", {}, "Controls"),
          controlTable(),
          element("h2", {}, "Your screen"),
          element("div", { class: "ladder", "aria-hidden": "true" },
            element("span", { class: "black" }, element("i")), ...ladder, element("span", { class: "white" }, element("i"))),
          element("p", { class: "quiet" }, "Dim the room. You should see the small square inside the black patch on the left "
            + "and inside the white patch on the right, and every step between."))),
      element("h2", {}, setup.mode === "preference" ? "Questions" : "Questions and scales"),
      element("table", { class: "scales" }, ...setup.items.map(scaleRow)),
      element("footer", {},
        storageWarning(),
        element("button", { type: "button", class: "primary", onclick: begin },
          !resuming ? "Begin" : finished() ? "Continue" : `Continue with ${place(current()).toLowerCase()}`))));
  }

  function controlTable() {
    const rows = controls().map((row) => element("tr", {},
      element("th", {}, row[0]), element("td", {}, row[1]), element("td", { class: "keys" }, row[2])));
    return element("table", { class: "controls" }, ...rows);
  }

  function scaleRow(item) {
    const anchors = Object.entries(item.anchors).map(([score, meaning]) =>
      element("span", {}, element("b", {}, score), meaning));
    return element("tr", {}, element("th", {}, item.question), element("td", {},
      ...(anchors.length ? anchors : [element("span", {}, setup.viewing.ties ? "A, no difference, or B" : "A or B")])));
  }

  function storageWarning() {
    if (ReconStore.durable) return null;
    return element("p", { class: "warning" },
      "This browser does not keep answers between visits (private window?). Please do not close the page before saving.");
  }

  function begin() {
    if (!state.instructed) {
      state.instructed = true;
      state.started = now();
    }
    ReconStore.save();
    proceed();
  }

  function proceed() {
    if (!finished()) read();
    else if (unanswered()) guess();
    else done();
  }

  // ---- reading -----------------------------------------------------------------------------------------------

  const place = (presentation) => {
    const noun = paired() ? "Pair" : "Image";
    const total = presentations().length;
    return presentation.training
      ? `Training ${presentation.order} of ${trainings()}`
      : `${noun} ${presentation.order - trainings()} of ${total - trainings()}`;
  };

  function frame(presentation, heading, side, footer, progress) {
    const stage = element("div", { class: `stage ${paired() ? "two" : "one"}` }, element("p", { class: "loading" }, "Loading"));
    slider = element("input", {
      type: "range", class: "slices", min: 0, max: 0, value: 0, "aria-label": "Slice",
      oninput: () => ReconPanes.goTo(Number(slider.value)),
    });
    const bar = element("i");
    bar.style.width = `${100 * progress}%`;
    parts = { stage, clock: element("span", { class: "clock" }), saved: element("span", { class: "saved" }) };
    page.replaceChildren(element("div", { class: "desk" },
      element("header", { class: "top" },
        element("strong", {}, heading),
        element("span", { class: "title" }, setup.title),
        element("span", { class: "spacer" }),
        parts.saved, parts.clock,
        element("span", {}, `${setup.reader} · session ${setup.session}`),
        element("button", { type: "button", class: "round", title: "Controls (?)", "aria-label": "Controls", onclick: help }, "?"),
        element("div", { class: "progress" }, bar)),
      element("div", { class: "viewing" }, stage, slider),
      element("aside", {}, side, footer)));
  }

  async function display(presentation, flags) {
    const mine = ++turn;
    ReconPanes.clear();
    try {
      const images = await Promise.all(presentation.images.map(ReconImages.load));
      if (mine !== turn) return;
      slider.max = images[0].slices - 1;
      ReconPanes.show(parts.stage, images, paired() ? ["Image A", "Image B"] : [""], {
        flags,
        place: ReconForm.place,
        flagging: () => (screen === "reading" ? ReconForm.flagging : ""),
        kinds: setup.viewing.flags,
        changed: (view) => {
          slider.value = view.slice;
        },
      });
      if (screen === "reading") startClock();
      ahead(presentation);
    } catch (error) {
      if (mine !== turn) return;
      parts.stage.replaceChildren(element("p", { class: "loading" },
        `This image cannot be shown: ${error.message}. Please tell the coordinator (presentation ${presentation.id}).`));
    }
  }

  // The next images are decoded while the reader looks at these.
  function ahead(presentation) {
    const next = presentations()[presentations().indexOf(presentation) + 1];
    if (next) setTimeout(() => next.images.forEach((name) => ReconImages.load(name).catch(() => {})), 200);
  }

  function read() {
    screen = "reading";
    stopClock();
    const presentation = current();
    const kept = state.responses[presentation.id];
    const draft = (state.drafts[presentation.id] ??= kept
      ? { scores: { ...kept.scores }, flags: [...kept.flags], comment: kept.comment, milliseconds: 1000 * kept.seconds, started: kept.started }
      : { scores: {}, flags: [], comment: "", milliseconds: 0, started: now() });
    const hint = element("p", { class: "hint", "aria-live": "polite" });
    const next = element("button", { type: "button", class: "primary", onclick: advance },
      state.position + 1 < presentations().length ? "Next" : "Finish");
    const back = setup.viewing.going_back
      ? element("button", { type: "button", class: "quiet", disabled: state.position === 0, onclick: goBack }, "Back")
      : null;
    const update = () => {
      const left = ReconForm.missing().length;
      const progress = left ? `${left} ${left === 1 ? "answer" : "answers"} to go` : "Complete";
      hint.textContent = presentation.training ? `Practice, not analysed · ${progress}` : progress;
      next.classList.toggle("waiting", left > 0);
      saved(ReconStore.save());
      ReconPanes.view && ReconPanes.draw();
    };
    const form = ReconForm.build(setup, draft, update);
    const footer = element("footer", {}, hint, back, next);
    const done = state.position / presentations().length;
    frame(presentation, place(presentation), form, footer, done);
    display(presentation, () => draft.flags);
    update();
  }

  function advance() {
    if (screen !== "reading") return;
    if (ReconForm.missing().length) {
      ReconForm.showMissing();
      return;
    }
    stopClock();
    const presentation = current();
    const draft = state.drafts[presentation.id];
    const { scores, flags, comment } = ReconForm.answers();
    state.responses[presentation.id] = {
      presentation: presentation.id,
      order: presentation.order,
      training: presentation.training,
      scores,
      flags,
      comment,
      seconds: Math.round(draft.milliseconds / 100) / 10,
      started: draft.started,
      finished: now(),
    };
    delete state.drafts[presentation.id];
    state.position += 1;
    complete();
    ReconStore.save();
    proceed();
  }

  function goBack() {
    if (!setup.viewing.going_back || state.position === 0) return;
    stopClock();
    state.position -= 1;
    ReconStore.save();
    read();
  }

  function complete() {
    if (finished() && !unanswered() && !state.finished) state.finished = now();
  }

  // ---- the question at the end ---------------------------------------------------------------------------------

  function guess() {
    screen = "guessing";
    stopClock();
    const presentation = unanswered();
    const { question, reference_label: standard, new_label: fresh } = setup.guess;
    const choices = paired()
      ? [["A", `A is ${fresh}`], ["B", `B is ${fresh}`], ["unknown", "I do not know"]]
      : [["new", fresh], ["reference", standard], ["unknown", "I do not know"]];
    const answered = guesses().length - guesses().filter((entry) => !(entry.id in state.guesses)).length;
    const side = element("div", { class: "form" },
      element("p", { class: "practice" }, "One last question, about images that you have read. It shows whether the study was "
        + "blinded. Your scores are final and no longer change."),
      element("section", { class: "item" },
        element("h3", {}, paired() ? `Which image is ${fresh}?` : question),
        element("div", { class: "choices" }, ...choices.map(([value, label], index) => element("button", {
          type: "button", "data-guess": value,
          onclick: () => {
            state.guesses[presentation.id] = value;
            complete();
            ReconStore.save();
            proceed();
          },
        }, element("kbd", {}, String(index + 1)), label)))));
    frame(presentation, `Question ${answered + 1} of ${guesses().length}`, side, null, answered / guesses().length);
    display(presentation, () => []);
  }

  // ---- the score sheet -----------------------------------------------------------------------------------------

  function done() {
    screen = "done";
    stopClock();
    ReconPanes.clear();
    const message = element("p", { class: "hint", "aria-live": "polite" });
    const save = async (kind) => {
      try {
        await ReconStore.download(kind);
        message.textContent = "Saved in your downloads. Please hand the file to the coordinator as it is: opening and "
          + "saving it in a spreadsheet breaks the signature.";
      } catch (error) {
        message.textContent = `The sheet could not be saved: ${error.message}`;
      }
    };
    const after = setup.session < setup.sessions
      ? `The next session should be at least ${setup.washout_weeks} weeks from now.` : null;
    page.replaceChildren(element("div", { class: "sheet narrow" },
      element("p", { class: "eyebrow" }, `Reader ${setup.reader} · session ${setup.session} of ${setup.sessions}`),
      element("h1", {}, "Thank you, that was the last one"),
      element("p", {}, `${Object.keys(state.responses).length} answers are complete. Save the signed score sheet and hand it `
        + "to the coordinator; either form will do."),
      after ? element("p", {}, after) : null,
      element("div", { class: "saving" },
        element("button", { type: "button", class: "primary", "data-save": "json", onclick: () => save("json") }, "Save score sheet"),
        element("button", { type: "button", "data-save": "csv", onclick: () => save("csv") }, "Save as CSV"),
        setup.viewing.going_back && !guesses().length
          ? element("button", { type: "button", class: "quiet", onclick: goBack }, "Back to the images") : null),
      message));
  }

  // ---- clock, saving, help, keyboard -----------------------------------------------------------------------------

  function startClock() {
    if (!shownAt && !document.hidden && !overlay) shownAt = performance.now();
  }

  function stopClock() {
    if (!shownAt) return;
    const draft = !finished() && state.drafts[current().id];
    if (draft) draft.milliseconds += performance.now() - shownAt;
    shownAt = 0;
  }

  function tick() {
    if (screen !== "reading" || !shownAt) return;
    stopClock();
    startClock();
    const seconds = Math.floor(state.drafts[current().id].milliseconds / 1000);
    parts.clock.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    saved(ReconStore.save());
  }

  function saved(kept) {
    parts.saved.textContent = kept ? "Saved" : "Not saved in this browser";
    parts.saved.classList.toggle("warning", !kept);
  }

  function help() {
    if (overlay) {
      overlay.remove();
      overlay = null;
      if (screen === "reading") startClock();
      return;
    }
    stopClock();
    overlay = element("div", { class: "overlay", onclick: help },
      element("div", { class: "sheet small", onclick: (event) => event.stopPropagation() },
        element("h2", {}, "Controls"), controlTable(),
        element("footer", {}, element("button", { type: "button", onclick: help }, "Close"))));
    document.body.append(overlay);
  }

  function keyboard(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (overlay) {
      if (event.key === "Escape" || event.key === "?") help();
      return;
    }
    const { target } = event;
    if (target instanceof HTMLTextAreaElement) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (target instanceof HTMLInputElement && event.key.startsWith("Arrow")) return;
    if (screen !== "reading" && screen !== "guessing") return;
    if (!ReconPanes.view) return;
    if (handle(event.key, event.shiftKey)) event.preventDefault();
  }

  function handle(key, shift) {
    const flagging = screen === "reading" && ReconForm.flagging;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (flagging) {
      const far = shift ? 10 : 2;
      if (arrows) ReconPanes.moveAim(arrows[0] * far, arrows[1] * far);
      else if (key === "Enter") ReconForm.place(ReconPanes.aimed());
      else if (key === "Escape") ReconForm.flag(flagging);
      else if (key === "b" || key === "a") ReconPanes.swapAim();
      else if (key === "PageUp" || key === "PageDown") ReconPanes.scroll(key === "PageUp" ? -1 : 1);
      else return false;
      return true;
    }
    if (arrows && shift) ReconPanes.pan(-40 * arrows[0], -40 * arrows[1]);
    else if (key === "ArrowUp" || key === "PageUp") ReconPanes.scroll(-1);
    else if (key === "ArrowDown" || key === "PageDown") ReconPanes.scroll(1);
    else if (key === "Home") ReconPanes.goTo(0);
    else if (key === "End") ReconPanes.goTo(Number(slider.max));
    else if (key === "+" || key === "=") ReconPanes.zoom(1.2);
    else if (key === "-") ReconPanes.zoom(1 / 1.2);
    else if (key === "[") ReconPanes.adjust(-16, 0);
    else if (key === "]") ReconPanes.adjust(16, 0);
    else if (key === ",") ReconPanes.adjust(0, -12);
    else if (key === ".") ReconPanes.adjust(0, 12);
    else if (key === "r") ReconPanes.reset();
    else if (key === "?") help();
    else if (screen === "guessing") {
      const button = page.querySelectorAll("[data-guess]")[Number(key) - 1];
      if (!button) return false;
      button.click();
    } else if (key === "ArrowLeft") ReconForm.step(-1);
    else if (key === "ArrowRight") ReconForm.step(1);
    else if (key === "n") advance();
    else if ("fghj".includes(key) && setup.viewing.flags["fghj".indexOf(key)]) {
      ReconForm.flag(setup.viewing.flags["fghj".indexOf(key)]);
    } else return ReconForm.type(key.toLowerCase());
    return true;
  }

  return { start };
})();

// Called by package.js.
window.reconPackage = (setup) => ReconViewer.start(setup);
