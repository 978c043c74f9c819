"use strict";

// Reading: one presentation after the other, its answers kept as a draft until Next.
const ReconReading = (() => {
  function read() {
    const { setup, state } = ReconSession;
    ReconSession.screen = "reading";
    ReconClock.stop();
    const presentation = ReconSession.current();
    const kept = state.responses[presentation.id];
    const draft = (state.drafts[presentation.id] ??= kept
      ? { scores: { ...kept.scores }, flags: kept.flags.map((spot) => ({ ...spot })), comment: kept.comment, milliseconds: 1000 * kept.seconds, started: kept.started }
      : { scores: {}, flags: [], comment: "", milliseconds: 0, started: ReconSession.now() });
    const hint = element("p", { class: "hint", "aria-live": "polite" });
    const next = element("button", { type: "button", class: "primary", onclick: advance },
      state.position + 1 < ReconSession.presentations().length ? "Next" : "Finish");
    const back = setup.viewing.going_back
      ? element("button", { type: "button", class: "quiet", disabled: state.position === 0, onclick: goBack }, "Back")
      : null;
    const update = () => {
      const left = ReconForm.missing().length;
      const progress = left ? `${left} ${left === 1 ? "answer" : "answers"} to go` : "Complete";
      hint.textContent = presentation.training ? `Practice, not analysed · ${progress}` : progress;
      next.classList.toggle("waiting", left > 0);
      ReconDesk.saved(ReconStore.save());
      ReconPanes.view && ReconPanes.draw();
    };
    const form = ReconForm.build(setup, draft, update);
    const footer = element("footer", {}, hint, back, next);
    const done = state.position / ReconSession.presentations().length;
    ReconDesk.frame(ReconSession.place(presentation), form, footer, done);
    ReconDesk.display(presentation, () => draft.flags);
    update();
  }

  function advance() {
    const { state } = ReconSession;
    if (ReconSession.screen !== "reading") return;
    if (!ReconDesk.shown().length) {
      ReconWorklist.remind();
      return;
    }
    if (ReconForm.missing().length) {
      ReconForm.showMissing();
      return;
    }
    ReconClock.stop();
    const presentation = ReconSession.current();
    const draft = state.drafts[presentation.id];
    const { scores, flags, comment } = ReconForm.answers();
    state.responses[presentation.id] = {
      presentation: presentation.id,
      order: presentation.order,
      training: presentation.training,
      scores,
      flags,
      comment,
      seconds: Math.round(draft.milliseconds / 100) / 10,
      started: draft.started,
      finished: ReconSession.now(),
      images: ReconDesk.shown(),
    };
    delete state.drafts[presentation.id];
    state.position += 1;
    ReconSession.complete();
    ReconStore.save();
    ReconViewer.proceed();
  }

  function goBack() {
    const { setup, state } = ReconSession;
    if (!setup.viewing.going_back || state.position === 0) return;
    ReconClock.stop();
    state.position -= 1;
    ReconStore.save();
    read();
  }

  return { read, advance, goBack };
})();
