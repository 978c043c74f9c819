"""The style sheet of the HTML report: calm, dense enough for a statistician, fit for printing."""

STYLE = """
:root { --ink: #1f2933; --muted: #5b6774; --rule: #dfe3e8; --paper: #ffffff; --wash: #f5f6f8;
  --shown: #0f6b75; --not: #b4552d; }
* { box-sizing: border-box; }
html { background: var(--wash); }
body { margin: 0; color: var(--ink); font: 15.5px/1.55 "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums lining-nums; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.notice { background: #7a3d1d; color: #fff; text-align: center; padding: .55rem 1rem; font-weight: 600;
  letter-spacing: .02em; }
main { max-width: 940px; margin: 2rem auto; padding: 3rem 3.4rem 4rem; background: var(--paper);
  border: 1px solid var(--rule); border-radius: 6px; }
.kind { margin: 0 0 .4rem; font-size: .74rem; letter-spacing: .14em; text-transform: uppercase; color: var(--muted); }
h1 { margin: 0; font-size: 1.95rem; line-height: 1.2; font-weight: 650; letter-spacing: -.01em; }
.question { margin: .6rem 0 0; color: var(--muted); font-size: 1.05rem; }
h2 { margin: 0 0 .7rem; font-size: 1.18rem; font-weight: 650; }
section, details { margin-top: 2.6rem; }
details { border-top: 1px solid var(--rule); padding-top: 1rem; margin-top: 1.4rem; }
summary { cursor: pointer; } summary h2 { display: inline; margin: 0; } details > :nth-child(2) { margin-top: 1rem; }
p { margin: 0 0 .8rem; max-width: 70ch; }
.claim { margin-top: 1.9rem; padding: 1.35rem 1.6rem 1.05rem; border-left: 5px solid; border-radius: 0 5px 5px 0; }
.claim.shown { border-color: var(--shown); background: #eef6f6; }
.claim.not-shown { border-color: var(--not); background: #fbf3ee; }
.verdict { margin: 0 0 .35rem; font-size: .74rem; font-weight: 700; letter-spacing: .14em; text-transform: uppercase; }
.shown .verdict { color: var(--shown); } .not-shown .verdict { color: var(--not); }
.sentence { font-size: 1.2rem; line-height: 1.45; font-weight: 600; max-width: none; margin-bottom: .7rem; }
ul { margin: 0 0 .8rem; padding-left: 1.15rem; } li { margin: .22rem 0; max-width: 78ch; }
.claim ul { color: var(--muted); font-size: .93rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: .9rem 1.5rem;
  margin: 1.7rem 0 0; padding: 1.1rem 0; border: solid var(--rule); border-width: 1px 0; }
dt { font-size: .74rem; color: var(--muted); letter-spacing: .04em; } dd { margin: .1rem 0 0; font-weight: 600;
  overflow-wrap: anywhere; }
figure { margin: .4rem 0 1.3rem; } figure img { width: 100%; height: auto; display: block; }
figcaption, caption { color: var(--muted); font-size: .86rem; text-align: left; margin-top: .45rem; }
caption { padding-bottom: .5rem; }
.table { overflow-x: auto; margin-bottom: 1.3rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; line-height: 1.4; }
th { text-align: left; font-weight: 600; color: var(--muted); font-size: .78rem; vertical-align: bottom;
  border-bottom: 1.5px solid var(--ink); padding: .35rem .9rem .35rem 0; }
td { border-bottom: 1px solid var(--rule); padding: .36rem .9rem .36rem 0; vertical-align: top; }
.named td:first-child { min-width: 6.6rem; }
th.n, td.n { text-align: right; padding: .36rem 0 .36rem .9rem; }
td.n { white-space: nowrap; }
@media (max-width: 760px) { main { margin: 0; padding: 1.4rem 1.1rem 3rem; border: 0; } }
@media print { html { background: none; } main { border: 0; margin: 0; padding: 0; max-width: none; }
  section, figure, tr { break-inside: avoid; } details::details-content { content-visibility: visible; } }
"""
