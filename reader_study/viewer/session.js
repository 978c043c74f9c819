"use strict";

// One sitting of one reader: the package, the answers so far, and which screen is shown. Every other script reads it.
const ReconSession = (() => {
  const page = document.getElementById("page");
  const session = {
    page,
    setup: null, // what package.js says
    state: null, // what the reader answered; see store.js
    screen: "", // instructions, reading, guessing, done, elsewhere

    now: () => new Date().toISOString().replace(/\.\d+Z$/, "Z"),
    presentations: () => session.setup.presentations,
    current: () => session.presentations()[session.state.position],
    finished: () => session.state.position >= session.presentations().length,
    guesses: () => session.presentations().filter((presentation) => presentation.guess),
    unanswered: () => session.guesses().find((presentation) => !(presentation.id in session.state.guesses)),
    trainings: () => session.presentations().filter((presentation) => presentation.training).length,
    sequences: () => session.setup.sequences ?? [""], // the series of an image, shown together
    paired: () => session.setup.mode !== "independent",
    onPacs: () => session.setup.on_pacs === true, // the images are not in this page; see worklist.js
    // Behind the window of a PACS the reading goes on.
    hidden: () => document.hidden && !session.onPacs(),
    eyebrow: () => `Reader ${session.setup.reader} · session ${session.setup.session} of ${session.setup.sessions}`,

    // "Training 1 of 2", "Image 3 of 40"
    place(presentation) {
      const trainings = session.trainings();
      const total = session.presentations().length;
      return presentation.training
        ? `Training ${presentation.order} of ${trainings}`
        : `${session.paired() ? "Pair" : "Image"} ${presentation.order - trainings} of ${total - trainings}`;
    },

    // Notes the time when the last answer is in.
    complete() {
      const { state } = session;
      if (session.finished() && !session.unanswered() && !state.finished) state.finished = session.now();
    },

    // A page that only says something.
    notice(title, text) {
      page.replaceChildren(element("div", { class: "sheet narrow" },
        element("h1", {}, title), element("p", {}, text)));
    },
  };
  return session;
})();
