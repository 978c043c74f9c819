"use strict";

// In the place of the images, where they are read on a PACS: which patient to open there.
const ReconWorklist = (() => {
  // `opened()` is called once the reader says that the images are on the screen.
  function show(stage, presentation, opened) {
    const paired = ReconSession.paired();
    const rows = presentation.patients.map((patient, index) => element("div", { class: "patient" },
      element("span", {}, paired ? `Image ${"AB"[index]}, patient ID` : "Patient ID"),
      element("b", {}, patient),
      element("button", { type: "button", class: "quiet", onclick: () => navigator.clipboard?.writeText(patient) }, "Copy")));
    const button = element("button", {
      type: "button", class: "primary", "data-opened": "",
      onclick: () => {
        button.replaceWith(element("p", { class: "quiet" }, paired ? "Both images are open." : "The image is open."));
        opened();
      },
    }, paired ? "Both are open (O)" : "It is open (O)");
    stage.replaceChildren(element("div", { class: "worklist" },
      element("p", { class: "quiet" }, paired
        ? "Open both on the PACS, A on the left, and answer when they are on the screen:"
        : "Open on the PACS, and answer when it is on the screen:"), ...rows, button));
  }

  const confirm = () => document.querySelector("[data-opened]")?.click();

  // Next was pressed before anything was said to be open.
  const remind = () => document.querySelector("[data-opened]")?.focus();

  return { show, confirm, remind };
})();
