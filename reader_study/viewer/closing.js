"use strict";

// The end of a session: the question which arm an image was from, and the score sheet.
const ReconClosing = (() => {
  function guess() {
    const { setup, state } = ReconSession;
    ReconSession.screen = "guessing";
    ReconClock.stop();
    const presentation = ReconSession.unanswered();
    const { question, reference_label: standard, new_label: fresh } = setup.guess;
    const choices = ReconSession.paired()
      ? [["A", `A is ${fresh}`], ["B", `B is ${fresh}`], ["unknown", "I do not know"]]
      : [["new", fresh], ["reference", standard], ["unknown", "I do not know"]];
    const all = ReconSession.guesses();
    const answered = all.filter((entry) => entry.id in state.guesses).length;
    const side = element("div", { class: "form" },
      element("p", { class: "practice" }, "One last question, about images that you have read. It shows whether the study was "
        + "blinded. Your scores are final and no longer change."),
      element("section", { class: "item" },
        element("h3", {}, ReconSession.paired() ? `Which image is ${fresh}?` : question),
        element("div", { class: "choices" }, ...choices.map(([value, label], index) => element("button", {
          type: "button", "data-guess": value,
          onclick: () => {
            state.guesses[presentation.id] = value;
            ReconSession.complete();
            ReconStore.save();
            ReconViewer.proceed();
          },
        }, element("kbd", {}, String(index + 1)), label)))));
    ReconDesk.frame(`Question ${answered + 1} of ${all.length}`, side, null, answered / all.length);
    ReconDesk.display(presentation, () => []);
  }

  function done() {
    const { setup, state } = ReconSession;
    ReconSession.screen = "done";
    ReconClock.stop();
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
    ReconSession.page.replaceChildren(element("div", { class: "sheet narrow" },
      element("p", { class: "eyebrow" }, ReconSession.eyebrow()),
      element("h1", {}, "Thank you, that was the last one"),
      element("p", {}, `${Object.keys(state.responses).length} answers are complete. Save the signed score sheet and hand `
        + "it to the coordinator; either form will do."),
      after ? element("p", {}, after) : null,
      element("div", { class: "saving" },
        element("button", { type: "button", class: "primary", "data-save": "json", onclick: () => save("json") }, "Save score sheet"),
        element("button", { type: "button", "data-save": "csv", onclick: () => save("csv") }, "Save as CSV"),
        setup.viewing.going_back && !ReconSession.guesses().length
          ? element("button", { type: "button", class: "quiet", onclick: ReconReading.goBack }, "Back to the images") : null),
      message));
  }

  return { guess, done };
})();
