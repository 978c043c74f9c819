"use strict";

// The time spent on the presentation on the desk; it stands while the page is hidden (not beside a PACS) or help is open.
const ReconClock = (() => {
  let shownAt = 0; // performance.now() when it last started; 0 while it stands

  const draft = () => !ReconSession.finished() && ReconSession.state.drafts[ReconSession.current().id];

  function start() {
    if (ReconSession.screen === "reading" && !shownAt && !ReconSession.hidden() && !ReconKeyboard.helping()) {
      shownAt = performance.now();
    }
  }

  function stop() {
    if (!shownAt) return;
    const reading = draft();
    if (reading) reading.milliseconds += performance.now() - shownAt;
    shownAt = 0;
  }

  // Every second: the time so far is counted, shown and kept.
  function tick() {
    if (ReconSession.screen !== "reading" || !shownAt) return;
    stop();
    start();
    const seconds = Math.floor(draft().milliseconds / 1000);
    ReconDesk.time(`${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`);
    ReconDesk.saved(ReconStore.save());
  }

  return { start, stop, tick };
})();
