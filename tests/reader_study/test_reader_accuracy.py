"""Case truth, ratings of confidence and areas under the ROC curve, from the protocol to the report."""

import json
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import yaml
from study_maker import PASSPHRASE, make_study, protocol_mapping

from reader_study.handed_out import exported
from reader_study.protocol import load_protocol
from reader_study.seal import open_key
from reader_study.sheet import Response, Sheet
from reader_study.sheet_files import write_sheet
from reader_study.statistics import obuchowski_rockette, roc
from reader_study.study import KEY, open_study
from recon.errors import ReconError

CASES = [f"C{index:03d}" for index in range(1, 17)]
TRUTH = {
    "condition": "acute infarct",
    "standard": "diffusion and follow-up, two in consensus",
    "diseased": CASES[:7],
    "not_diseased": CASES[7:],
}
CONFIDENCE = {
    "id": "infarct",
    "question": "Is there an acute infarct?",
    "direction": "lower-is-present",
    "anchors": {1: "surely", 2: "probably", 3: "perhaps", 4: "hardly", 5: "surely not"},
}


def mapping(**changes):
    """A study of accuracy: 16 cases, three random readers, margin .1 of the area."""
    plain = protocol_mapping(cases=16)
    items = [CONFIDENCE, *plain["items"]]
    readers = [{"id": f"R{number}", "experience": "simulated"} for number in (1, 2, 3)]
    primary = {
        "item": "infarct",
        "hypothesis": "non-inferiority",
        "margin": 0.2,
        "margin_justification": "A fifth of the area is chosen for this test alone.",
        "readers": "random",
    }
    own = {"items": items, "readers": readers, "truth": TRUTH, "primary": primary, "guess": {"presentations": 0}}
    return {**plain, **own, **changes}


def written(path, values):
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": None}, "needs the key 'truth'"),
        ({"truth": {**TRUTH, "diseased": CASES[:6]}}, "says nothing of C007"),
        ({"truth": {**TRUTH, "diseased": [*CASES[:7], "X1"]}}, "names the foreign X1"),
        ({"truth": {**TRUTH, "diseased": CASES[:8]}}, "names C008 twice"),
        ({"truth": {**TRUTH, "diseased": CASES[:1]}}, "2 or more cases with the condition"),
        ({"truth": {**TRUTH, "standard": " "}}, "the 'standard' by which it is known"),
        ({"items": protocol_mapping()["items"], "primary": protocol_mapping()["primary"]}, "serves no item"),
        ({"mode": "side-by-side"}, "not independent"),
        ({"primary": {**mapping()["primary"], "margin": 0.5}}, "between chance and perfection"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(tmp_path, changes, message):
    with pytest.raises(ReconError, match=message):
        load_protocol(written(tmp_path / "protocol.yaml", mapping(**changes)))


def test_protocols_without_truth_keep_their_hash(tmp_path):
    """What was frozen before there was a truth is still the same protocol."""
    plain = load_protocol(written(tmp_path / "plain.yaml", protocol_mapping()))
    assert "truth" not in plain.as_mapping()
    rated = load_protocol(written(tmp_path / "rated.yaml", mapping()))
    assert rated.as_mapping()["truth"]["diseased"] == tuple(CASES[:7])


def ratings(generator, diseased, sharper):
    """1 (surely) to 5 (surely not): the condition shifts the latent rating."""
    return int(np.clip(np.rint(3.2 + generator.normal() - (1.6 + sharper) * diseased), 1, 5))


def read_all(folder):
    """Signed sheets of simulated readers who know the case through the key, as a person knows it by its image."""
    study = open_study(folder)
    line = exported(study.entries).details
    key = open_key(folder / KEY, PASSPHRASE, line["sealed_key_sha256"], line["commitment"])
    rows = {row.id: row for row in key.presentations}
    generator, given = np.random.default_rng(5), {}
    for package in study.packages:
        text = (folder / package.folder / "package.js").read_text()
        content = json.loads(text[text.index("(") + 1 : text.rindex(")")])
        moment = datetime.now(timezone.utc) + timedelta(seconds=1)
        stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        responses = []
        for entry in content["presentations"]:
            row = rows[entry["id"]]
            score = ratings(generator, row.case in TRUTH["diseased"], 0.3 * (row.arms[0] == "dm"))
            scores = {"infarct": score, "overall": int(generator.integers(3, 6))}
            if row.kind == "main":
                given[row.arms[0], row.reader, row.case] = 6 - score
            facts = (scores, (), "", 10.0, stamp, stamp, tuple(entry["sha256"]))
            responses.append(Response(entry["id"], entry["order"], entry["training"], *facts))
        whole = (content["study"], package.id, package.reader, package.session, stamp, stamp, tuple(responses), ())
        name = f"{package.reader}-{package.session}.json"
        write_sheet(folder / "sheets" / name, Sheet(*whole).signed(content["signing_key"]))
    arms = ("soc", "dm")
    return np.array([[[given[arm, r.id, c] for c in CASES] for r in study.protocol.readers] for arm in arms], float)


def test_a_study_of_accuracy_from_plan_to_report(run_cli, tmp_path):
    """Sealed export, signed sheets, the key, the claim: the areas are those of the ratings; no package tells."""
    study, pattern = make_study(tmp_path, **{"cases": 16, **mapping()})
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    (tmp_path / "passphrase").chmod(0o600)
    secret = ["--passphrase-file", tmp_path / "passphrase"]
    exporting = run_cli("reader-study", "export", study, "--images", pattern, *secret)
    assert exporting.code == 0, exporting.err
    for path in (study / "packages").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(word in content for word in (b'acute infarct"', b"diseased", b"consensus", b"C001"))
    scores = read_all(study)
    opening = run_cli("reader-study", "unseal", study, "--reason", "all in", *secret)
    assert opening.code == 0, opening.err
    found = run_cli("reader-study", "analyze", study, "--out", tmp_path / "report", "--json")
    assert found.code == 0, found.err
    truth = np.arange(16) < 7
    expected = obuchowski_rockette.difference(roc.components_of_areas(scores, truth), 0.2)
    assert found.json["estimate"] == pytest.approx(expected.estimate)
    assert found.json["lower_bound"] == pytest.approx(expected.low)
    assert "of the area under the ROC curve" in found.json["claim"]
    assert any("reference standard (diffusion and follow-up" in line for line in found.json["limits"])
    values = json.loads((tmp_path / "report" / "analysis.json").read_text())
    rated, quality, _ = (*values["items"], None)[:3]
    assert set(rated["roc"]["by_reader"]) == {"R1", "R2", "R3"}
    assert (rated["roc"]["diseased"], rated["roc"]["not_diseased"], rated["roc"]["missing"]) == (7, 9, 0)
    assert rated["ordinal"] is None
    assert rated["wilcoxon"] is None
    assert rated["reliability"] is not None
    assert quality["roc"] is None
    assert quality["planned"]["margin"] == 0
    table = (tmp_path / "report" / "scores.csv").read_text().splitlines()
    assert table[0].endswith(",condition")
    assert all(line.endswith("present" if line.split(",")[2] in CASES[:7] else "absent") for line in table[1:])
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Diagnostic accuracy" in page
    assert "Reader study of diagnostic accuracy" in page
    assert "nothing here measures diagnostic accuracy" not in page
