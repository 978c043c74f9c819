"use strict";

// The course of a session: instructions, training, reading, the question at the end, the score sheet.
const ReconViewer = (() => {
  function start(packageSetup) {
    ReconSession.setup = packageSetup;
    document.title = `${packageSetup.title} – reader ${packageSetup.reader}`;
    if (!window.isSecureContext || !window.crypto?.subtle) {
      const plain = location.protocol === "http:";
      ReconSession.notice(plain ? "This page cannot be used from this address." : "This browser cannot sign score sheets.",
        plain ? "It came from a server without encryption (http), where a browser neither signs score sheets nor checks "
          + "images. Please open start.html from the folder itself, or ask the coordinator for an address with https."
          : "Please open the page in a current Chrome, Edge, Firefox or Safari.");
      return;
    }
    ReconSession.state = ReconStore.open(packageSetup);
    document.addEventListener("keydown", ReconKeyboard.press);
    window.addEventListener("storage", (event) => ReconStore.concerns(event) && elsewhere());
    document.addEventListener("visibilitychange", () => {
      if (ReconSession.hidden()) ReconClock.stop();
      else ReconClock.start();
      ReconStore.save();
    });
    window.addEventListener("pagehide", () => {
      ReconClock.stop();
      ReconStore.save();
    });
    setInterval(ReconClock.tick, 1000);
    ReconInstructions.show(begin);
  }

  // Two windows would overwrite each other's answers: the one that was opened first steps back.
  function elsewhere() {
    ReconClock.stop();
    ReconSession.screen = "elsewhere";
    ReconPanes.clear();
    ReconStore.leave();
    ReconSession.notice("This study is open in another window.",
      "Your answers are kept. Please go on there, or close the other window and reload this page.");
  }

  function begin() {
    const { state } = ReconSession;
    if (!state.instructed) {
      state.instructed = true;
      state.started = ReconSession.now();
    }
    ReconStore.save();
    proceed();
  }

  function proceed() {
    if (!ReconSession.finished()) ReconReading.read();
    else if (ReconSession.unanswered()) ReconClosing.guess();
    else ReconClosing.done();
  }

  return { start, proceed };
})();

// Called by package.js.
window.reconPackage = (setup) => ReconViewer.start(setup);
