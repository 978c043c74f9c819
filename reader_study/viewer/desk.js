"use strict";

// The frame around images and questions: head line, image stage, slice slider, form at the side.
const ReconDesk = (() => {
  let slider = null;
  let parts = {}; // {stage, clock, saved}
  let turn = 0; // counts presentations opened, so that a late image is not shown in the wrong place

  let shown = []; // SHA-256 of the images on the desk, or of the series that are open on the PACS

  const load = (presentation) =>
    presentation.images.map((name, side) => ReconImages.load(name, presentation.sha256[side]));

  // Builds the page; `progress` from 0 to 1 fills the bar under the head line.
  function frame(heading, side, footer, progress) {
    const { page, setup } = ReconSession;
    const size = ReconSession.paired() ? "two" : "one";
    const stage = element("div", { class: `stage ${size}` }, element("p", { class: "loading" }, "Loading"));
    slider = element("input", {
      type: "range", class: "slices", min: 0, max: 0, value: 0, "aria-label": "Slice",
      oninput: () => ReconPanes.goTo(Number(slider.value)),
    });
    const bar = element("i");
    bar.style.width = `${100 * progress}%`;
    parts = { stage, clock: element("span", { class: "clock" }), saved: element("span", { class: "saved" }) };
    const help = { type: "button", class: "round", title: "Controls (?)", "aria-label": "Controls", onclick: ReconKeyboard.help };
    page.replaceChildren(element("div", { class: "desk" },
      element("header", { class: "top" },
        element("strong", {}, heading),
        element("span", { class: "title" }, setup.title),
        element("span", { class: "spacer" }),
        parts.saved, parts.clock,
        element("span", {}, `${setup.reader} · session ${setup.session}`),
        element("button", {
          type: "button", class: "quiet", "data-save": "so-far", title: "Save the finished answers, to go on elsewhere",
          onclick: () => ReconStore.download("json").catch(() => saved(false)),
        }, "Save so far"),
        element("button", help, "?"),
        element("div", { class: "progress" }, bar)),
      element("div", { class: "viewing" }, stage, slider),
      element("aside", {}, side, footer)));
  }

  // Loads and shows the images of a presentation; `flags()` gives the spots marked in it.
  async function display(presentation, flags) {
    const mine = ++turn;
    ReconPanes.clear();
    shown = [];
    if (ReconSession.onPacs()) {
      slider.hidden = true;
      ReconWorklist.show(parts.stage, presentation, () => {
        shown = presentation.series;
        ReconClock.start();
      });
      return;
    }
    try {
      const images = await Promise.all(load(presentation));
      if (mine !== turn) return;
      shown = images.map((image) => image.sha256);
      ReconPanes.show(parts.stage, images, ReconSession.sequences(), {
        flags,
        place: ReconForm.place,
        flagging: () => (ReconSession.screen === "reading" ? ReconForm.flagging : ""),
        kinds: kinds(),
        changed: (view, slices) => {
          slider.max = slices - 1;
          slider.value = view.slice;
        },
      });
      ReconClock.start();
      ahead(presentation);
    } catch (error) {
      if (mine !== turn) return;
      parts.stage.replaceChildren(element("p", { class: "loading" },
        `This image cannot be shown: ${error.message}. Please tell the coordinator (presentation ${presentation.id}).`));
    }
  }

  // The next images are decoded while the reader looks at these.
  function ahead(presentation) {
    const all = ReconSession.presentations();
    const next = all[all.indexOf(presentation) + 1];
    if (next) setTimeout(() => load(next).forEach((image) => image.catch(() => {})), 200);
  }

  const kinds = () => ReconSession.setup.viewing.flags;

  function time(text) {
    parts.clock.textContent = text;
  }

  function saved(kept) {
    parts.saved.textContent = kept ? "Saved" : "Not saved in this browser";
    parts.saved.classList.toggle("warning", !kept);
  }

  return { frame, display, kinds, time, saved, shown: () => shown, lastSlice: () => Number(slider.max) };
})();
