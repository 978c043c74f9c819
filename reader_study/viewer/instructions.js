"use strict";

// The first page: what the study asks, how the viewer works, how the screen should look.
const ReconInstructions = (() => {
  const controls = () => {
    const { mode, viewing } = ReconSession.setup;
    const answers = ["Answer", "click", mode === "preference" ? "A, B, T (tie)" : "digits; ← → other question"];
    const next = ["Next", "button at the lower right", "N"];
    if (ReconSession.onPacs()) {
      const typed = ["Mark a lesion", "type image, column and row, then rate it", "M; Enter; Esc; digits"];
      const open = ["It is open", "button in the middle", "O"];
      return [open, answers, ...(ReconSession.setup.localisation ? [typed] : []), next];
    }
    const spot = ["Mark a spot", "choose the kind, click in the image", "F, G …; arrows, Enter, Esc"];
    const lesion = ["Mark a lesion", "Mark a place, click in the image, rate it", "M; arrows, Enter, Esc; digits"];
    const marks = [...(ReconSession.setup.localisation ? [lesion] : []), ...(viewing.flags.length ? [spot] : [])];
    return [...looking, answers, ...marks, next];
  };

  const looking = [
    ["Slices", "mouse wheel", "↑ ↓"],
    ["Window", "drag with the left button", "[ ] width   , . level"],
    ["Zoom", "drag with the right button, or Ctrl + wheel", "+ −"],
    ["Move", "drag with the middle button, or Shift + left", "Shift + arrows"],
    ["Reset view", "double click", "R"],
  ];

  let starting = null; // what the button does

  function show(begin) {
    starting = begin;
    const { setup, state } = ReconSession;
    ReconSession.screen = "instructions";
    ReconClock.stop();
    const paragraphs = setup.instructions.split(/\n\s*\n/).map((text) => text.trim()).filter(Boolean);
    const trainings = ReconSession.trainings();
    const main = ReconSession.presentations().length - trainings;
    const several = ReconSession.sequences().length > 1;
    const noun = ReconSession.paired() ? "pair of images" : several ? "examination" : "image";
    const nouns = ReconSession.paired() ? "pairs of images" : `${noun}s`;
    const counted = (count) => `${count} ${count === 1 ? noun : nouns}`;
    const going = () => (ReconSession.finished() ? "" : ` with ${ReconSession.place(ReconSession.current()).toLowerCase()}`);
    ReconSession.page.replaceChildren(element("div", { class: "sheet" },
      element("header", {},
        element("p", { class: "eyebrow" }, ReconSession.eyebrow()),
        element("h1", {}, setup.title)),
      element("div", { class: "columns" },
        element("div", {},
          ...paragraphs.map((text) => element("p", {}, text)),
          element("h2", {}, "What to expect"),
          element("p", {}, trainings
            ? `First ${counted(trainings)} for practice, not analysed. Then ${counted(main)} in random order.`
            : `${counted(main)} in random order.`),
          several && !ReconSession.onPacs()
            ? element("p", {}, `Each shows ${ReconSession.sequences().join(", ")} together. Their slices are linked by `
              + "position; the one under the pointer leads, and the keys act on it.") : null,
          element("p", {}, setup.viewing.going_back
            ? "You may go back and change an answer until you save the final score sheet."
            : "An answer is final once you press Next: this study does not allow going back."),
          element("p", {}, "Every answer is kept in this browser at once; you may close the page and go on later, on this "
            + "computer and in this browser; to go on elsewhere, use Save so far and take the file along. The time spent on each image is recorded, and "
            + (ReconSession.onPacs() ? "runs from its opening to Next. " : "pauses while the page is hidden. ")
            + "Nothing leaves this computer: at the end you save a signed score sheet and hand it to the coordinator.")),
        element("div", {},
          element("h2", {}, "Controls"),
          controlTable(),
          ...(ReconSession.onPacs() ? onPacs() : screen()))),
      element("h2", {}, setup.mode === "preference" ? "Questions" : "Questions and scales"),
      element("table", { class: "scales" },
        ...[setup.localisation, ...setup.items].filter(Boolean).map(scaleRow)),
      element("footer", {},
        storageWarning(),
        resume(),
        element("button", { type: "button", class: "primary", onclick: begin },
          state.instructed ? `Continue${going()}` : "Begin"))));
  }

  function screen() {
    const ladder = [0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100].map((percent) => {
      const patch = element("i", {});
      const grey = Math.round(2.55 * percent);
      patch.style.background = `rgb(${grey},${grey},${grey})`;
      return patch;
    });
    return [
      element("h2", {}, "Your screen"),
      element("div", { class: "ladder", "aria-hidden": "true" },
        element("span", { class: "black" }, element("i")), ...ladder, element("span", { class: "white" }, element("i"))),
      element("p", { class: "quiet" }, "Dim the room. You should see the small square inside the black patch on the left "
        + "and inside the white patch on the right, and every step between."),
    ];
  }

  function onPacs() {
    return [
      element("h2", {}, "Reading on the PACS"),
      element("p", {}, "This page shows no images. For each answer it names a patient ID: open that patient on the PACS, say here "
        + "that it is open, and answer. Please open no other patient of this study meanwhile, and none again before this page asks."),
      ReconSession.setup.localisation
        ? element("p", {}, "A lesion is marked by the numbers that the PACS shows: the image's number in its series, and column and "
          + "row in pixels under the cursor at its centre. Positions in millimetres do not serve.") : null,
    ].filter(Boolean);
  }

  // Another computer: the sheet saved so far brings the finished answers along.
  function resume() {
    const message = element("span", { class: "quiet", "aria-live": "polite" });
    const file = element("input", {
      type: "file", accept: ".json", "aria-label": "Sheet saved so far",
      onchange: async () => {
        try {
          await ReconStore.restore(await file.files[0].text());
          show(starting);
        } catch (error) {
          message.textContent = `Not taken over: ${error.message}.`;
        }
      },
    });
    return element("label", { class: "resume" }, "Begun on another computer? ", file, message);
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
      ...(anchors.length ? anchors : [element("span", {}, ReconSession.setup.viewing.ties ? "A, no difference, or B" : "A or B")])));
  }

  function storageWarning() {
    if (ReconStore.durable) return null;
    return element("p", { class: "warning" },
      "This browser does not keep answers between visits (private window?). Please do not close the page before saving.");
  }

  return { show, controlTable };
})();
