"use strict";

// Small builder: element("div", {class: "x", onclick: f}, child, "text", ...). Text never becomes markup.
function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [property, value] of Object.entries(properties)) {
    if (property.startsWith("on")) node.addEventListener(property.slice(2), value);
    else if (value === true) node.setAttribute(property, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(property, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// The questions about one presentation: scores with their anchors, flags, comment.
const ReconForm = (() => {
  let setup = null;
  let draft = null; // {scores, flags, comment}
  let rows = []; // one per score key: {key, item, side, scores, node}
  let active = 0;
  let flagging = "";
  let changed = () => {};
  let root = null;
  let flagList = null;
  let lesionList = null; // suspected lesions, each with its rating

  const keysOf = (item) => (setup.mode === "side-by-side" ? [`${item.id}@A`, `${item.id}@B`] : [item.id]);
  const named = { A: "A is better", tie: "No difference", B: "B is better" };

  function build(packageSetup, current, whenChanged) {
    setup = packageSetup;
    draft = current;
    changed = whenChanged;
    rows = [];
    flagging = "";
    flagList = element("ul", { class: "flags" });
    lesionList = element("ul", { class: "flags lesions" });
    root = element("div", { class: "form" });
    if (setup.localisation) root.append(lesionSection());
    setup.items.forEach((item, index) => root.append(question(item, index)));
    if (setup.viewing.flags.length) root.append(flagSection());
    if (setup.viewing.comments) root.append(commentSection());
    active = Math.max(0, rows.findIndex((row) => !(row.key in draft.scores)));
    refresh();
    return root;
  }

  function question(item, index) {
    const mode = setup.mode;
    const title = `question-${index}`;
    const section = element("section", { class: `item ${mode}` },
      element("h3", { id: title }, item.question, item.required ? null : element("small", {}, "optional")));
    if (mode === "side-by-side") {
      const meanings = item.scores.map((score) => element("span", {}, item.anchors[score]));
      section.append(element("div", { class: "anchors scale" }, element("i"), ...meanings));
    }
    for (const key of keysOf(item)) {
      const side = key.split("@")[1];
      const buttons = item.scores.map((score) => element("button", {
        type: "button", role: "radio", "data-score": score,
        "aria-label": mode === "preference" ? named[score] : `${score}, ${item.anchors[score]}`,
        onclick: () => choose(key, score),
      },
      element("b", {}, mode === "preference" ? named[score] : String(score)),
      mode === "independent" ? element("span", {}, item.anchors[score]) : null));
      const label = side ? element("i", { class: "side" }, side) : null;
      const node = element("div", { class: "scale", role: "radiogroup", "aria-labelledby": title }, label, ...buttons);
      node.style.setProperty("--count", item.scores.length);
      node.addEventListener("pointerdown", () => activate(rows.findIndex((row) => row.key === key)));
      section.append(node);
      rows.push({ key, item, node, scores: item.scores });
    }
    section.querySelectorAll(".anchors").forEach((node) => node.style.setProperty("--count", item.scores.length));
    return section;
  }

  function flagSection() {
    const buttons = setup.viewing.flags.map((kind, index) => {
      const button = element("button", { type: "button", class: "flag", "data-kind": kind, onclick: () => flag(kind) },
        element("span", { class: "dot" }), kind);
      button.style.setProperty("--flag", ReconPanes.colours[index % ReconPanes.colours.length]);
      return button;
    });
    return element("section", { class: "item" },
      element("h3", {}, "Mark a spot", element("small", {}, "choose, then click in the image")),
      element("div", { class: "marking" }, ...buttons), flagList);
  }

  // Mark, rate and remove suspected lesions: none, one or several.
  function lesionSection() {
    const { kind, question: asked, anchors, scores } = setup.localisation;
    return element("section", { class: "item" },
      element("h3", {}, asked, element("small", {}, "none, one or several")),
      ReconSession.onPacs() ? ReconWorklist.marking(kind, place) : element("div", { class: "marking" }, marker(kind)),
      lesionList,
      element("p", { class: "anchors" }, scores.map((score) => `${score} ${anchors[score]}`).join(" · ")));
  }

  function marker(kind) {
    const button = element("button", { type: "button", class: "flag", "data-kind": kind, onclick: () => flag(kind) },
      element("span", { class: "dot" }), "Mark a place");
    button.style.setProperty("--flag", ReconPanes.colours.at(-1));
    return button;
  }

  const isLesion = (spot) => spot.kind === setup.localisation?.kind;
  const unrated = () => draft.flags.find((spot) => isLesion(spot) && spot.confidence === undefined);

  function rate(spot, score) {
    spot.confidence = score;
    refresh();
    changed();
  }

  function lesionEntry(spot, number) {
    const ratings = setup.localisation.scores.map((score) => {
      const button = element("button", {
        type: "button", role: "radio", "data-rating": score, "aria-checked": String(spot.confidence === score),
        "aria-label": `${score}, ${setup.localisation.anchors[score]}`, title: setup.localisation.anchors[score],
        onclick: () => rate(spot, score),
      }, String(score));
      button.classList.toggle("chosen", spot.confidence === score);
      return button;
    });
    return element("li", {}, ...entry(spot, `${number}: ${where(spot)}`),
      element("div", { class: "ratings", role: "radiogroup", "aria-label": `Rating of mark ${number}` }, ...ratings));
  }

  function where(spot) {
    const image = [setup.mode === "independent" ? "" : `image ${spot.side}`, spot.sequence].filter(Boolean);
    if (ReconSession.onPacs()) return [`image ${spot.slice}`, ...image, `column ${spot.x}`, `row ${spot.y}`].join(", ");
    return [`slice ${spot.slice}`, ...image].join(", ");
  }

  // What leads to a spot, and what removes it.
  function entry(spot, label) {
    const kinds = ReconDesk.kinds();
    const dot = element("span", { class: "dot" });
    const link = ReconSession.onPacs()
      ? element("span", { class: "link" }, dot, label)
      : element("button", { type: "button", class: "link", onclick: () => ReconPanes.find(spot) }, dot, label);
    link.style.setProperty("--flag", ReconPanes.colour(spot.kind, kinds));
    return [link, element("button", {
      type: "button", class: "remove", "aria-label": `Remove ${label}`,
      onclick: () => {
        draft.flags.splice(draft.flags.indexOf(spot), 1);
        refresh();
        changed();
      },
    }, "×")];
  }

  function commentSection() {
    const box = element("textarea", {
      rows: 2, maxlength: 2000, placeholder: "Comment (optional; no names)", "aria-label": "Comment",
      oninput: () => {
        draft.comment = ReconStore.wellFormed(box.value);
        changed();
      },
    });
    box.value = draft.comment;
    return element("section", { class: "item" }, box);
  }

  function choose(key, score) {
    const row = rows.find((entry) => entry.key === key);
    if (draft.scores[key] === score && !row.item.required) delete draft.scores[key];
    else draft.scores[key] = score;
    const next = rows.findIndex((entry, index) => index > rows.indexOf(row) && !(entry.key in draft.scores));
    activate(next >= 0 ? next : rows.indexOf(row));
    changed();
  }

  function activate(index) {
    active = Math.max(0, Math.min(rows.length - 1, index));
    refresh();
    rows[active]?.node.parentElement.scrollIntoView({ block: "nearest" });
  }

  // A digit counts the scale's own scores; in preference mode A, B and T (tie) answer as well.
  function type(character) {
    const waiting = unrated();
    if (waiting && setup.localisation.scores.map(String).includes(character)) {
      rate(waiting, Number(character));
      return true;
    }
    const row = rows[active];
    if (!row) return false;
    const word = { a: "A", b: "B", t: "tie" }[character];
    const score = row.scores.find((entry) => (setup.mode === "preference" ? entry === word : String(entry) === character));
    if (score === undefined) return false;
    choose(row.key, score);
    return true;
  }

  function flag(kind) {
    flagging = flagging === kind ? "" : kind;
    ReconPanes.aim(flagging);
    refresh();
  }

  function place(spot) {
    draft.flags.push(spot);
    flagging = "";
    if (ReconPanes.view) ReconPanes.aim("");
    refresh();
    changed();
  }

  function refresh() {
    rows.forEach((row, index) => {
      row.node.classList.toggle("active", index === active);
      row.node.querySelectorAll("button").forEach((button, place) => {
        const chosen = draft.scores[row.key] === row.scores[place];
        button.setAttribute("aria-checked", chosen);
        button.classList.toggle("chosen", chosen);
        button.tabIndex = index === active ? 0 : -1;
      });
    });
    lesionList.replaceChildren(...draft.flags.filter(isLesion).map((spot, index) => lesionEntry(spot, index + 1)));
    root.querySelectorAll("button.flag").forEach((button) => {
      button.classList.toggle("chosen", button.dataset.kind === flagging);
    });
    const others = draft.flags.filter((spot) => !isLesion(spot));
    flagList.replaceChildren(...others.map((spot) => element("li", {}, ...entry(spot, `${spot.kind}, ${where(spot)}`))));
  }

  // Questions without an answer, and a mark without a rating.
  const missing = () => [...(unrated() ? [{}] : []), ...rows.filter((row) => row.item.required && !(row.key in draft.scores))];

  function showMissing() {
    const first = rows.indexOf(missing().find((row) => row.key));
    if (first >= 0) activate(first);
    root.classList.remove("incomplete");
    requestAnimationFrame(() => root.classList.add("incomplete"));
  }

  // Scores in the order of the protocol, however they were entered.
  function answers() {
    const scores = {};
    for (const row of rows) if (row.key in draft.scores) scores[row.key] = draft.scores[row.key];
    return { scores, flags: draft.flags.slice(), comment: draft.comment };
  }

  return {
    build, type, flag, place, missing, showMissing, answers,
    step: (by) => activate(active + by),
    get flagging() {
      return flagging;
    },
  };
})();
