"use strict";

// The reader's answers: kept in the browser after every change, signed and written to a file at the end.
const ReconStore = (() => {
  let setup = null;
  let state = null;
  let durable = true;
  let left = false; // another window has taken over; nothing is written from here any more

  const key = () => `recon-reader-study/${setup.package}`;

  const fresh = () => ({
    package: setup.package,
    started: "",
    finished: "",
    position: 0, // index of the presentation on the desk
    instructed: false,
    responses: {}, // presentation id -> finished response
    drafts: {}, // presentation id -> what is on the form now
    guesses: {}, // presentation id -> guess
  });

  function open(packageSetup) {
    setup = packageSetup;
    state = fresh();
    try {
      const kept = localStorage.getItem(key());
      if (kept) {
        const read = JSON.parse(kept);
        if (read.package === setup.package) state = { ...state, ...read };
      }
      state.window = crypto.randomUUID(); // a change that other windows of this page notice
      save();
    } catch (error) {
      durable = false;
    }
    return state;
  }

  // Another window of this browser wrote the same package's answers.
  const concerns = (event) => !left && event.key === key() && event.newValue !== null;

  function save() {
    if (left) return durable;
    try {
      localStorage.setItem(key(), JSON.stringify(state));
      durable = true;
    } catch (error) {
      durable = false;
    }
    return durable;
  }

  // The one byte form that is signed; reader_study/canonical.py makes the same.
  function canonical(value) {
    if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
    if (value !== null && typeof value === "object") {
      const entries = Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`);
      return `{${entries.join(",")}}`;
    }
    return JSON.stringify(value);
  }

  // Half of a surrogate pair has no UTF-8 form; it becomes the replacement character.
  const wellFormed = (text) => text.replace(/[\ud800-\udfff]/gu, "\ufffd");

  function payload() {
    const responses = setup.presentations
      .filter((presentation) => presentation.id in state.responses)
      .map((presentation) => state.responses[presentation.id]);
    const guesses = setup.presentations
      .filter((presentation) => presentation.id in state.guesses)
      .map((presentation) => ({ presentation: presentation.id, guess: state.guesses[presentation.id] }));
    return {
      format: "recon-score-sheet-1",
      study: setup.study,
      package: setup.package,
      reader: setup.reader,
      session: setup.session,
      started: state.started,
      finished: state.finished,
      responses,
      guesses,
    };
  }

  async function signedSheet() {
    const content = payload();
    const curve = { name: "ECDSA", namedCurve: "P-256" };
    const signingKey = await crypto.subtle.importKey("jwk", setup.signing_key, curve, false, ["sign"]);
    const message = new TextEncoder().encode(canonical(content));
    const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, signingKey, message);
    const digits = [...new Uint8Array(signature)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return { ...content, signature: digits };
  }

  // Goes on from a sheet that was saved before it was finished, perhaps on another computer.
  async function restore(text) {
    let sheet = null;
    try {
      sheet = JSON.parse(text);
    } catch (error) {
      throw new Error("this is not a saved sheet (the JSON form is needed)");
    }
    if (sheet.package !== setup.package || sheet.study !== setup.study) throw new Error("this sheet is of another session");
    const { signature, ...content } = sheet;
    const { kty, crv, x, y } = setup.signing_key;
    const curve = { name: "ECDSA", namedCurve: "P-256" };
    const checkingKey = await crypto.subtle.importKey("jwk", { kty, crv, x, y }, curve, false, ["verify"]);
    const bytes = new Uint8Array((signature || "").match(/../g)?.map((pair) => parseInt(pair, 16)) ?? []);
    const message = new TextEncoder().encode(canonical(content));
    if (!(await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, checkingKey, bytes, message))) {
      throw new Error("the sheet was changed after it was saved");
    }
    const lost = Object.keys(state.responses).some((id) => !sheet.responses.some((row) => row.presentation === id));
    if (lost) throw new Error("this browser holds more answers than the sheet");
    state.responses = Object.fromEntries(sheet.responses.map((row) => [row.presentation, row]));
    state.guesses = Object.fromEntries(sheet.guesses.map((row) => [row.presentation, row.guess]));
    const next = setup.presentations.findIndex((presentation) => !(presentation.id in state.responses));
    Object.assign(state, { drafts: {}, started: sheet.started, finished: sheet.finished, instructed: true });
    state.position = next < 0 ? setup.presentations.length : next;
    save();
  }

  const columns = [
    "record", "study", "package", "reader", "session", "presentation", "order", "training", "item", "score",
    "seconds", "started", "finished", "flags", "comment", "images", "signature",
  ];

  // Spreadsheets run a cell that starts like a formula; reader_study/sheet_files.py takes the apostrophe off again.
  const defused = (comment) => (/^[=+\-@'\t\r]/.test(comment) ? `'${comment}` : comment);

  function csv(sheet) {
    const cell = (value) => {
      const text = value === undefined || value === null ? "" : String(value);
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const common = { study: sheet.study, package: sheet.package, reader: sheet.reader, session: sheet.session };
    const rows = [
      { record: "sheet", ...common, started: sheet.started, finished: sheet.finished, signature: sheet.signature },
    ];
    for (const response of sheet.responses) {
      const facts = {
        ...common,
        presentation: response.presentation,
        order: response.order,
        training: response.training,
        seconds: response.seconds,
        started: response.started,
        finished: response.finished,
        flags: response.flags.length ? canonical(response.flags) : "",
        comment: defused(response.comment),
        images: response.images.join(" "),
      };
      const scores = Object.entries(response.scores);
      for (const [item, score] of scores.length ? scores : [["", ""]]) {
        rows.push({ record: "score", ...facts, item, score });
      }
    }
    for (const guess of sheet.guesses) {
      rows.push({ record: "guess", ...common, presentation: guess.presentation, score: guess.guess });
    }
    return [columns, ...rows.map((row) => columns.map((name) => row[name]))]
      .map((row) => row.map(cell).join(",") + "\r\n")
      .join("");
  }

  async function download(kind) {
    const sheet = await signedSheet();
    const text = kind === "csv" ? csv(sheet) : `${JSON.stringify(sheet, null, 1)}\n`;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind === "csv" ? "text/csv" : "application/json" }));
    const soFar = sheet.finished ? "" : "-so-far";
    link.download = `scores-${setup.study.slice(0, 8)}-${setup.reader}-session-${setup.session}${soFar}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  return {
    open,
    save,
    concerns,
    leave: () => {
      left = true;
    },
    download,
    restore,
    canonical,
    wellFormed,
    signedSheet,
    csv,
    get durable() {
      return durable;
    },
  };
})();
