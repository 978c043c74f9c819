"use strict";

// One or two panes that share slice, window, zoom and pan.
const ReconPanes = (() => {
  const colours = ["#e2ac5d", "#b79cf0", "#7fc8a9", "#e58a8a"];
  // Top, bottom, left, right of the display planes, as reader_study/volumes.py turns them.
  const directions = { axial: "APRL", coronal: "HFRL", sagittal: "HFAP" };
  let panes = []; // {side, canvas, context, image, buffer, bufferContext, pixels32, drawn}
  let view = null; // {slice, centre, width, zoom, x, y}: x, y pan in screen pixels
  let hooks = null; // {flags(), place(flag), flagging(), kinds, changed()}
  let pending = false;
  let pointer = null; // image position under the mouse, for the linked cross
  let target = null; // crosshair of a flag that is placed by keyboard
  let lut = new Uint32Array(65536);
  let lutFor = "";
  const watcher = new ResizeObserver(() => draw());

  function show(stage, images, labels, callbacks) {
    hooks = callbacks;
    watcher.disconnect();
    stage.replaceChildren();
    const first = images[0];
    view = { slice: first.slices >> 1, centre: first.window[0], width: first.window[1], zoom: 1, x: 0, y: 0 };
    pointer = target = null;
    panes = images.map((image, index) => {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      const label = document.createElement("figcaption");
      figure.className = "pane";
      canvas.tabIndex = -1;
      label.textContent = labels[index];
      label.hidden = !labels[index];
      const readout = document.createElement("output");
      figure.append(canvas, label, readout);
      [...(directions[image.plane] || "")].forEach((letter, edge) => {
        const mark = document.createElement("span");
        mark.className = `mark at-${["top", "bottom", "left", "right"][edge]}`;
        mark.textContent = letter;
        figure.append(mark);
      });
      stage.append(figure);
      const buffer = document.createElement("canvas");
      buffer.width = image.columns;
      buffer.height = image.rows;
      const bufferContext = buffer.getContext("2d");
      const data = bufferContext.createImageData(image.columns, image.rows);
      const pane = {
        side: "AB"[index], canvas, context: canvas.getContext("2d", { alpha: false }), image, buffer, bufferContext,
        data, pixels32: new Uint32Array(data.data.buffer), drawn: "", readout,
      };
      listen(pane);
      watcher.observe(figure);
      return pane;
    });
    draw();
  }

  function draw() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      paint();
    });
  }

  function windowTable() {
    const wanted = `${view.centre}/${view.width}`;
    if (lutFor === wanted) return;
    const low = view.centre - view.width / 2;
    const scale = 255 / view.width;
    for (let value = 0; value < 4096; value++) {
      const grey = Math.max(0, Math.min(255, Math.round((value - low) * scale)));
      lut[value] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    lut.fill(lut[4095], 4096);
    lutFor = wanted;
  }

  // Where the image lies on the canvas, in device pixels; voxels need not be square.
  function placement(pane) {
    const ratio = window.devicePixelRatio || 1;
    const { image, canvas } = pane;
    const [, rowSize, columnSize] = image.spacing;
    const tall = image.rows * rowSize;
    const wide = image.columns * columnSize;
    const fit = Math.min(canvas.width / wide, canvas.height / tall) * view.zoom;
    const width = wide * fit;
    const height = tall * fit;
    return {
      left: (canvas.width - width) / 2 + view.x * ratio,
      top: (canvas.height - height) / 2 + view.y * ratio,
      width, height, ratio,
    };
  }

  function paint() {
    if (!view) return;
    windowTable();
    for (const pane of panes) {
      const { canvas, context, image } = pane;
      const ratio = window.devicePixelRatio || 1;
      const wide = Math.max(1, Math.round(canvas.parentElement.clientWidth * ratio));
      const tall = Math.max(1, Math.round(canvas.parentElement.clientHeight * ratio));
      if (canvas.width !== wide || canvas.height !== tall) {
        canvas.width = wide;
        canvas.height = tall;
      }
      const wanted = `${view.slice}/${lutFor}`;
      if (pane.drawn !== wanted) {
        const size = image.rows * image.columns;
        const start = view.slice * size;
        const { pixels32 } = pane;
        for (let index = 0; index < size; index++) pixels32[index] = lut[image.pixels[start + index]];
        pane.bufferContext.putImageData(pane.data, 0, 0);
        pane.drawn = wanted;
      }
      context.fillStyle = "#000";
      context.fillRect(0, 0, wide, tall);
      const place = placement(pane);
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      context.drawImage(pane.buffer, place.left, place.top, place.width, place.height);
      marks(pane, place);
      pane.readout.textContent =
        `${view.slice + 1} / ${image.slices}    W ${Math.round(view.width)}  L ${Math.round(view.centre)}    ` +
        `${view.zoom.toFixed(1)}×`;
    }
    hooks.changed(view);
  }

  function marks(pane, place) {
    const { context, image } = pane;
    const at = (x, y) => [
      place.left + ((x + 0.5) / image.columns) * place.width,
      place.top + ((y + 0.5) / image.rows) * place.height,
    ];
    context.lineWidth = 1.5 * place.ratio;
    for (const flag of hooks.flags()) {
      if (flag.side !== pane.side || flag.slice !== view.slice + 1) continue;
      const [x, y] = at(flag.x, flag.y);
      context.strokeStyle = colours[hooks.kinds.indexOf(flag.kind) % colours.length];
      context.beginPath();
      context.arc(x, y, 11 * place.ratio, 0, 2 * Math.PI);
      context.stroke();
    }
    const cross = target && target.side === pane.side ? target : pointer && pointer.side !== pane.side ? pointer : null;
    if (cross) {
      const [x, y] = at(cross.x, cross.y);
      const arm = (cross === target ? 16 : 9) * place.ratio;
      context.strokeStyle = cross === target ? "#fff" : "rgba(130,190,240,.75)";
      context.beginPath();
      context.moveTo(x - arm, y);
      context.lineTo(x - arm / 3, y);
      context.moveTo(x + arm / 3, y);
      context.lineTo(x + arm, y);
      context.moveTo(x, y - arm);
      context.lineTo(x, y - arm / 3);
      context.moveTo(x, y + arm / 3);
      context.lineTo(x, y + arm);
      context.stroke();
    }
  }

  function position(pane, event) {
    const box = pane.canvas.getBoundingClientRect();
    const place = placement(pane);
    const x = ((event.clientX - box.left) * place.ratio - place.left) / place.width;
    const y = ((event.clientY - box.top) * place.ratio - place.top) / place.height;
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return null;
    return { side: pane.side, x: Math.floor(x * pane.image.columns), y: Math.floor(y * pane.image.rows) };
  }

  function listen(pane) {
    const { canvas } = pane;
    let rest = 0;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) {
        zoom(Math.exp(-event.deltaY / 300));
        return;
      }
      // A wheel notch is one slice; a touchpad's small steps add up to one.
      if (event.deltaMode !== 0 || Math.abs(event.deltaY) >= 60) {
        scroll(Math.sign(event.deltaY));
        return;
      }
      rest += event.deltaY;
      if (Math.abs(rest) >= 24) {
        scroll(Math.trunc(rest / 24));
        rest %= 24;
      }
    }, { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => reset());
    canvas.addEventListener("pointerleave", () => {
      pointer = null;
      draw();
    });
    canvas.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      const kind = hooks.flagging();
      if (kind && event.button === 0) {
        const spot = position(pane, event);
        if (spot) hooks.place({ kind, side: spot.side, slice: view.slice + 1, x: spot.x, y: spot.y });
        return;
      }
      canvas.setPointerCapture(event.pointerId);
      const action = event.button === 2 ? "zoom" : event.button === 1 || event.shiftKey ? "pan" : "window";
      let { clientX, clientY } = event;
      const move = (moved) => {
        const right = moved.clientX - clientX;
        const down = moved.clientY - clientY;
        ({ clientX, clientY } = moved);
        if (action === "zoom") zoom(Math.exp(-down / 200));
        else if (action === "pan") pan(right, down);
        else adjust(right, down);
      };
      const stop = () => {
        canvas.removeEventListener("pointermove", move);
        canvas.removeEventListener("pointerup", stop);
        canvas.removeEventListener("pointercancel", stop);
      };
      canvas.addEventListener("pointermove", move);
      canvas.addEventListener("pointerup", stop);
      canvas.addEventListener("pointercancel", stop);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (panes.length < 2) return;
      pointer = position(pane, event);
      draw();
    });
  }

  function scroll(step) {
    goTo(view.slice + step);
  }

  function goTo(slice) {
    view.slice = Math.max(0, Math.min(panes[0].image.slices - 1, slice));
    draw();
  }

  function zoom(factor) {
    const before = view.zoom;
    view.zoom = Math.max(0.5, Math.min(16, view.zoom * factor));
    view.x *= view.zoom / before;
    view.y *= view.zoom / before;
    draw();
  }

  function pan(right, down) {
    view.x += right;
    view.y += down;
    draw();
  }

  // Right: wider; down: brighter, as on most workstations.
  function adjust(right, down) {
    const [, standard] = panes[0].image.window;
    view.width = Math.max(16, Math.min(8190, view.width + (right * standard) / 400));
    view.centre = Math.max(0, Math.min(4095, view.centre - (down * standard) / 400));
    draw();
  }

  function reset() {
    const [centre, width] = panes[0].image.window;
    Object.assign(view, { centre, width, zoom: 1, x: 0, y: 0 });
    draw();
  }

  // A flag by keyboard: the crosshair starts in the middle of side A and moves with the arrows.
  function aim(kind) {
    const { columns, rows } = panes[0].image;
    target = kind ? { kind, side: "A", x: columns >> 1, y: rows >> 1 } : null;
    document.body.classList.toggle("flagging", Boolean(kind));
    draw();
  }

  function moveAim(right, down) {
    const { columns, rows } = panes[0].image;
    target.x = Math.max(0, Math.min(columns - 1, target.x + right));
    target.y = Math.max(0, Math.min(rows - 1, target.y + down));
    draw();
  }

  function swapAim() {
    if (panes.length > 1) target.side = target.side === "A" ? "B" : "A";
    draw();
  }

  const aimed = () => ({ kind: target.kind, side: target.side, slice: view.slice + 1, x: target.x, y: target.y });

  return {
    show, draw, scroll, goTo, zoom, pan, adjust, reset, aim, moveAim, swapAim, aimed, colours,
    clear: () => {
      watcher.disconnect();
      panes = [];
      view = null;
    },
    get view() {
      return view;
    },
  };
})();
