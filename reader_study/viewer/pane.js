"use strict";

// The panes of a presentation: slice, zoom and pan are linked, and a sequence has one window in all of its panes.
const ReconPanes = (() => {
  const colours = ["#e2ac5d", "#b79cf0", "#7fc8a9", "#e58a8a", "#ff7a4d"]; // the last: suspected lesions
  // Top, bottom, left, right of the display planes, as reader_study/volumes.py turns them.
  const directions = { axial: "APRL", coronal: "HFRL", sagittal: "HFAP" };
  // {side, sequence, image, slice, away, window, offset, reach, canvas, context, buffer, bufferContext, pixels32, drawn}
  let panes = [];
  let first = null; // the pane that leads: keys and slider move it, and the others follow
  let view = null; // {zoom, x, y}: x, y pan in screen pixels; slice, centre and width are the leading pane's
  let hooks = null; // {flags(), place(flag), flagging(), kinds, changed()}
  let pending = false;
  let pointer = null; // {pane, x, y} under the mouse, for the linked cross
  let target = null; // {kind, pane, x, y}: crosshair of a flag that is placed by keyboard
  let lut = new Uint32Array(65536);
  let lutFor = "";
  const watcher = new ResizeObserver(() => draw());

  // `images`: side by side, and in each the `sequences`.
  function show(stage, images, sequences, callbacks) {
    hooks = callbacks;
    watcher.disconnect();
    stage.replaceChildren();
    pointer = target = null;
    const sides = images.length / sequences.length;
    const windows = sequences.map((name, index) => ({ centre: images[index].window[0], width: images[index].window[1] }));
    const columns = sides > 1 ? sequences.length : Math.ceil(Math.sqrt(sequences.length));
    if (sequences.length > 1) stage.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    panes = images.map((image, index) => {
      const sequence = index % sequences.length;
      const side = "AB"[Math.floor(index / sequences.length)];
      const label = [sides > 1 ? `Image ${side}` : "", sequences[sequence]].filter(Boolean).join(", ");
      return {
        ...canvases(stage, image, label), side, image, sequence: sequences[sequence], window: windows[sequence],
        slice: image.slices >> 1, away: 0, drawn: "", offset: ReconLink.offset(image, images[0]), reach: [0, 0],
      };
    });
    for (const pane of panes) {
      const alike = panes.filter((other) => ReconLink.together(pane.image, other.image));
      pane.reach = [2, 1].map((axis, way) => Math.max(...alike.map((other) =>
        2 * Math.abs(other.offset[way]) + [0, other.image.rows, other.image.columns][axis] * other.image.spacing[axis])));
      ReconGestures.listen(pane, { flagging: hooks.flagging, mark, hover, leave: () => hover(null) });
      watcher.observe(pane.canvas.parentElement);
    }
    view = {
      zoom: 1,
      x: 0,
      y: 0,
      get slice() { return first.slice; },
      get centre() { return first.window.centre; },
      get width() { return first.window.width; },
    };
    first = panes[0];
    lead(first);
    goTo(first.slice);
  }

  function canvases(stage, image, label) {
    const canvas = element("canvas", { tabindex: -1 });
    const readout = element("output");
    const marks = [...(directions[image.plane] || "")].map((letter, edge) =>
      element("span", { class: `mark at-${["top", "bottom", "left", "right"][edge]}` }, letter));
    stage.append(element("figure", { class: "pane" }, canvas,
      element("figcaption", { hidden: !label }, label), readout, ...marks));
    const buffer = element("canvas", { width: image.columns, height: image.rows });
    const bufferContext = buffer.getContext("2d");
    const data = bufferContext.createImageData(image.columns, image.rows);
    return {
      canvas, context: canvas.getContext("2d", { alpha: false }), readout, buffer, bufferContext, data,
      pixels32: new Uint32Array(data.data.buffer),
    };
  }

  // The pane that the reader looks at.
  function lead(pane) {
    first = pane;
    const several = panes.some((other) => other.sequence !== panes[0].sequence);
    for (const other of panes) other.canvas.parentElement.classList.toggle("leading", several && other === pane);
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

  function windowTable({ centre, width }) {
    const wanted = `${centre}/${width}`;
    if (lutFor === wanted) return;
    const low = centre - width / 2;
    const scale = 255 / width;
    for (let value = 0; value < 4096; value++) {
      const grey = Math.max(0, Math.min(255, Math.round((value - low) * scale)));
      lut[value] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    lut.fill(lut[4095], 4096);
    lutFor = wanted;
  }

  // Where the image lies on the canvas, in device pixels; voxels need not be square. One mm is as long in every pane.
  function placement(pane) {
    const ratio = window.devicePixelRatio || 1;
    const { image, canvas, reach, offset } = pane;
    const [, rowSize, columnSize] = image.spacing;
    const fit = Math.min(canvas.width / reach[0], canvas.height / reach[1]) * view.zoom;
    const width = image.columns * columnSize * fit;
    const height = image.rows * rowSize * fit;
    return {
      left: (canvas.width - width) / 2 + offset[0] * fit + view.x * ratio,
      top: (canvas.height - height) / 2 + offset[1] * fit + view.y * ratio,
      width, height, ratio,
    };
  }

  function paint() {
    if (!view) return;
    for (const pane of panes) {
      const { canvas, context, image } = pane;
      const ratio = window.devicePixelRatio || 1;
      const wide = Math.max(1, Math.round(canvas.parentElement.clientWidth * ratio));
      const tall = Math.max(1, Math.round(canvas.parentElement.clientHeight * ratio));
      if (canvas.width !== wide || canvas.height !== tall) {
        canvas.width = wide;
        canvas.height = tall;
      }
      const { centre, width } = pane.window;
      const wanted = `${pane.slice}/${centre}/${width}`;
      if (pane.drawn !== wanted) {
        windowTable(pane.window);
        const size = image.rows * image.columns;
        const start = pane.slice * size;
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
      const away = Math.abs(pane.away) < 0.05 ? "" : `    ${pane.away > 0 ? "+" : "−"}${Math.abs(pane.away).toFixed(1)} mm`;
      pane.readout.textContent =
        `${pane.slice + 1} / ${image.slices}${away}    W ${Math.round(width)}  L ${Math.round(centre)}    ` +
        `${view.zoom.toFixed(1)}×`;
    }
    hooks.changed(view, first.image.slices);
  }

  // The pixel of `pane` at the place of the cross, or null where its slice does not hold that place.
  function crossed(cross, pane) {
    if (cross.pane === pane) return [cross.x, cross.y];
    const index = ReconLink.place(cross.pane.image, [cross.pane.slice, cross.y, cross.x], pane.image);
    const here = ReconLink.together(cross.pane.image, pane.image) || Math.round(index[0]) === pane.slice;
    return here ? [index[2], index[1]] : null;
  }

  function marks(pane, place) {
    const { context, image } = pane;
    const at = (x, y) => [
      place.left + ((x + 0.5) / image.columns) * place.width,
      place.top + ((y + 0.5) / image.rows) * place.height,
    ];
    context.lineWidth = 1.5 * place.ratio;
    for (const flag of hooks.flags()) {
      if (flag.side !== pane.side || (flag.sequence ?? "") !== pane.sequence || flag.slice !== pane.slice + 1) continue;
      const [x, y] = at(flag.x, flag.y);
      context.strokeStyle = colour(flag.kind, hooks.kinds);
      context.beginPath();
      context.arc(x, y, 11 * place.ratio, 0, 2 * Math.PI);
      context.stroke();
    }
    const cross = target && target.pane === pane ? target : pointer && pointer.pane !== pane ? pointer : null;
    const spot = cross && crossed(cross, pane);
    if (spot) {
      const [x, y] = at(...spot);
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

  function colour(kind, kinds) {
    const place = kinds.indexOf(kind);
    return place < 0 ? colours.at(-1) : colours[place % (colours.length - 1)];
  }

  function position(pane, event) {
    const box = pane.canvas.getBoundingClientRect();
    const place = placement(pane);
    const x = ((event.clientX - box.left) * place.ratio - place.left) / place.width;
    const y = ((event.clientY - box.top) * place.ratio - place.top) / place.height;
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return null;
    return { pane, x: Math.floor(x * pane.image.columns), y: Math.floor(y * pane.image.rows) };
  }

  function hover(pane, event) {
    if (panes.length < 2) return;
    pointer = pane && position(pane, event);
    if (pane && !event.buttons && !target) lead(pane);
    draw();
  }

  // A spot as the score sheet has it; its sequence where there are several.
  function spot(kind, { pane, x, y }) {
    const place = { kind, side: pane.side, slice: pane.slice + 1, x, y };
    return pane.sequence ? { ...place, sequence: pane.sequence } : place;
  }

  function mark(pane, event, kind) {
    const found = position(pane, event);
    if (found) hooks.place(spot(kind, found));
  }

  function scroll(step) {
    goTo(first.slice + step);
  }

  function goTo(slice) {
    first.slice = Math.max(0, Math.min(first.image.slices - 1, slice));
    first.away = 0;
    for (const pane of panes) {
      if (pane !== first && ReconLink.together(first.image, pane.image)) {
        Object.assign(pane, ReconLink.follow(first.image, first.slice, pane.image));
      }
    }
    draw();
  }

  // To a marked spot, in the pane where it was marked.
  function find(flag) {
    lead(panes.find((pane) => pane.side === flag.side && pane.sequence === (flag.sequence ?? "")) ?? first);
    goTo(flag.slice - 1);
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
    const [, standard] = first.image.window;
    const { centre, width } = first.window;
    first.window.width = Math.max(16, Math.min(8190, width + (right * standard) / 400));
    first.window.centre = Math.max(0, Math.min(4095, centre - (down * standard) / 400));
    draw();
  }

  function reset() {
    for (const pane of panes) [pane.window.centre, pane.window.width] = pane.image.window;
    Object.assign(view, { zoom: 1, x: 0, y: 0 });
    draw();
  }

  // A flag by keyboard: the crosshair starts in the middle of the leading pane and moves with the arrows.
  function aim(kind) {
    const { columns, rows } = first.image;
    target = kind ? { kind, pane: first, x: columns >> 1, y: rows >> 1 } : null;
    document.body.classList.toggle("flagging", Boolean(kind));
    draw();
  }

  function moveAim(right, down) {
    const { columns, rows } = target.pane.image;
    target.x = Math.max(0, Math.min(columns - 1, target.x + right));
    target.y = Math.max(0, Math.min(rows - 1, target.y + down));
    draw();
  }

  // On to the next pane, at the same place.
  function swapAim() {
    const next = panes[(panes.indexOf(target.pane) + 1) % panes.length];
    const { slice, image } = target.pane;
    const [, y, x] = ReconLink.place(image, [slice, target.y, target.x], next.image);
    Object.assign(target, { pane: next, x: Math.round(x), y: Math.round(y) });
    moveAim(0, 0);
  }

  const aimed = () => spot(target.kind, target);

  return {
    show, draw, lead, scroll, goTo, find, zoom, pan, adjust, reset, aim, moveAim, swapAim, aimed, colours, colour,
    clear: () => {
      watcher.disconnect();
      panes = [];
      view = null;
    },
    get view() {
      return view;
    },
    get panes() {
      return panes;
    },
  };
})();
