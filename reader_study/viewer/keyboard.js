"use strict";

// Keys of the viewer, and the sheet that lists them.
const ReconKeyboard = (() => {
  let overlay = null;

  function help() {
    if (overlay) {
      overlay.remove();
      overlay = null;
      ReconClock.start();
      return;
    }
    ReconClock.stop();
    overlay = element("div", { class: "overlay", onclick: help },
      element("div", { class: "sheet small", onclick: (event) => event.stopPropagation() },
        element("h2", {}, "Controls"), ReconInstructions.controlTable(),
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
    if (target instanceof HTMLInputElement && (target.type === "number" || event.key.startsWith("Arrow"))) return;
    if (target instanceof HTMLSelectElement) return;
    if (ReconSession.screen !== "reading" && ReconSession.screen !== "guessing") return;
    if (ReconSession.onPacs() && event.key.toLowerCase() === "o") {
      ReconWorklist.confirm();
      return;
    }
    if (!ReconDesk.shown().length) return;
    if (handle(event.key, event.shiftKey)) event.preventDefault();
  }

  function handle(key, shift) {
    const flagging = ReconSession.screen === "reading" && ReconForm.flagging;
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
    if (ReconPanes.view && look(key, shift, arrows)) return true;
    if (key === "?") help();
    else if (ReconSession.screen === "guessing") {
      const button = ReconSession.page.querySelectorAll("[data-guess]")[Number(key) - 1];
      if (!button) return false;
      button.click();
    } else if (key === "ArrowLeft") ReconForm.step(-1);
    else if (key === "ArrowRight") ReconForm.step(1);
    else if (key === "n") ReconReading.advance();
    else if (key === "m" && ReconSession.setup.localisation && ReconSession.onPacs()) {
      ReconSession.page.querySelector(".typed input").focus();
    } else if (key === "m" && ReconSession.setup.localisation) ReconForm.flag(ReconSession.setup.localisation.kind);
    else if ("fghj".includes(key) && ReconSession.setup.viewing.flags["fghj".indexOf(key)]) {
      ReconForm.flag(ReconSession.setup.viewing.flags["fghj".indexOf(key)]);
    } else return ReconForm.type(key.toLowerCase());
    return true;
  }

  // Keys that change how the images are shown.
  function look(key, shift, arrows) {
    if (arrows && shift) ReconPanes.pan(-40 * arrows[0], -40 * arrows[1]);
    else if (key === "ArrowUp" || key === "PageUp") ReconPanes.scroll(-1);
    else if (key === "ArrowDown" || key === "PageDown") ReconPanes.scroll(1);
    else if (key === "Home") ReconPanes.goTo(0);
    else if (key === "End") ReconPanes.goTo(ReconDesk.lastSlice());
    else if (key === "+" || key === "=") ReconPanes.zoom(1.2);
    else if (key === "-") ReconPanes.zoom(1 / 1.2);
    else if (key === "[") ReconPanes.adjust(-16, 0);
    else if (key === "]") ReconPanes.adjust(16, 0);
    else if (key === ",") ReconPanes.adjust(0, -12);
    else if (key === ".") ReconPanes.adjust(0, 12);
    else if (key === "r") ReconPanes.reset();
    else return false;
    return true;
  }

  return { help, press: keyboard, helping: () => overlay !== null };
})();
