"use strict";

// What mouse and touchpad do on an image: scroll, window, zoom, move, mark.
const ReconGestures = (() => {
  // `flagging()` gives the kind of spot that a click marks, `mark(pane, event, kind)` marks it.
  function listen(pane, { flagging, mark, hover, leave }) {
    const { canvas } = pane;
    let rest = 0;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      ReconPanes.lead(pane);
      if (event.ctrlKey) {
        ReconPanes.zoom(Math.exp(-event.deltaY / 300));
        return;
      }
      // A wheel notch is one slice; a touchpad's small steps add up to one.
      if (event.deltaMode !== 0 || Math.abs(event.deltaY) >= 60) {
        ReconPanes.scroll(Math.sign(event.deltaY));
        return;
      }
      rest += event.deltaY;
      if (Math.abs(rest) >= 24) {
        ReconPanes.scroll(Math.trunc(rest / 24));
        rest %= 24;
      }
    }, { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => ReconPanes.reset());
    canvas.addEventListener("pointerleave", leave);
    canvas.addEventListener("pointermove", (event) => hover(pane, event));
    canvas.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      ReconPanes.lead(pane);
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      const kind = flagging();
      if (kind && event.button === 0) mark(pane, event, kind);
      else drag(canvas, event);
    });
  }

  function drag(canvas, event) {
    canvas.setPointerCapture(event.pointerId);
    const action = event.button === 2 ? "zoom" : event.button === 1 || event.shiftKey ? "pan" : "window";
    let { clientX, clientY } = event;
    const move = (moved) => {
      const right = moved.clientX - clientX;
      const down = moved.clientY - clientY;
      ({ clientX, clientY } = moved);
      if (action === "zoom") ReconPanes.zoom(Math.exp(-down / 200));
      else if (action === "pan") ReconPanes.pan(right, down);
      else ReconPanes.adjust(right, down);
    };
    const stop = () => {
      canvas.removeEventListener("pointermove", move);
      canvas.removeEventListener("pointerup", stop);
      canvas.removeEventListener("pointercancel", stop);
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", stop);
    canvas.addEventListener("pointercancel", stop);
  }

  return { listen };
})();
