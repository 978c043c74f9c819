"use strict";

// In the place of the images, where they are read on a PACS: which patient to open there, and marks by their numbers.
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

  // Fields for a mark as the PACS shows it under its cursor; `place(spot)` takes it.
  function marking(kind, place) {
    const names = ReconSession.sequences();
    const { shapes } = ReconSession.current();
    const message = element("p", { class: "hint", "aria-live": "polite" });
    const series = names.length > 1
      ? element("select", { "aria-label": "Series", onchange: limit }, ...names.map((name) => element("option", {}, name))) : null;
    const field = (label, title) => {
      const input = element("input", {
        type: "number", required: true, step: "any", "aria-label": title, title, onkeydown: (event) => {
          if (event.key === "Enter") add();
          if (event.key === "Escape") input.blur();
        },
      });
      return { input, node: element("label", {}, element("span", {}, label), input) };
    };
    const slice = field("Image no.", "Image number in the series, from 1");
    const column = field("Column (x)", "Column under the cursor, in pixels from the left");
    const row = field("Row (y)", "Row under the cursor, in pixels from the top");
    const fields = [slice, column, row];
    slice.input.step = 1;

    function limit() {
      const [slices, rows, columns] = shapes[series ? series.selectedIndex : 0] ?? [];
      [[slice, 1, slices], [column, 0, columns], [row, 0, rows]].forEach(([{ input }, low, high]) => {
        input.min = low;
        if (high) input.max = high;
      });
    }

    function add() {
      const wrong = fields.find(({ input }) => !input.checkValidity());
      if (wrong) {
        const { input } = wrong;
        message.textContent = `${input.title}: ${input.max ? `${input.min} to ${input.max}` : "a number"}.`;
        input.focus();
        return;
      }
      const [at, x, y] = fields.map(({ input }) => Number(input.value));
      place({ kind, side: "A", slice: at, x, y, ...(series ? { sequence: series.value } : {}) });
      fields.forEach(({ input }) => { input.value = ""; });
      message.textContent = "";
      slice.input.focus();
    }

    limit();
    return element("div", { class: "typed" }, series, ...fields.map(({ node }) => node),
      element("button", { type: "button", "data-add": "", onclick: add }, "Add this mark"), message);
  }

  return { show, confirm, remind, marking };
})();
