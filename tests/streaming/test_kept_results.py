"""``recon serve --save`` and ``--monitor``: every served scan is a result file, and a change is said as it comes."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from recon.images.result import read_result
from recon.monitoring import live
from recon.monitoring.baseline import fit_baseline, read_baseline
from recon.monitoring.features import read_watched
from recon.monitoring.live import begun
from recon.monitoring.options import FitOptions
from recon.prior.store import load_prior
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scans.opening import open_scan
from recon.streaming.framing import HEADER, acquisition_message, text_message
from recon.streaming.keeping import Keeper, kept_results, prepare_folder
from recon.streaming.sending import send_scan
from recon.streaming.work import Service
from tests.monitoring.test_commands import cohort
from tests.small_world import write_small_prior
from tests.streaming.recorded import connect, edited, lines_of, record, running, small_scan

SENSE = ReconstructionOptions(method="sense")
FEW = ReconstructionOptions(steps=2, samples=2)
PATIENT = b"<subjectInformation><patientName>Muster^Max</patientName></subjectInformation>"


def recorded(folder: Path, number: int, noise: float = 0.02) -> Path:
    """A scan of its own: other noise, and counters as no other scan has them."""
    xml, lines = lines_of(small_scan(folder, slices=1, noise=noise, seed=number))

    def count(place: int, head: np.ndarray) -> None:
        head["measurement_uid"], head["scan_counter"] = number, place

    opened = xml.index(b">") + 1
    return record(folder / f"{number}.h5", xml[:opened] + PATIENT + xml[opened:], edited(lines, count))


def test_what_is_kept_is_what_reconstruct_writes(tmp_path: Path) -> None:
    prior = load_prior(write_small_prior(tmp_path / "prior"))
    file, kept = recorded(tmp_path, 1), tmp_path / "kept"
    prepare_folder(kept)
    with running(Service(FEW, prior, save=kept)) as server:
        for _ in range(2):
            received = send_scan(file, "127.0.0.1", server.port)
    first, second = kept_results(kept)
    assert [path.name[:11] for path in (first, second)] == ["scan-00001-", "scan-00002-"]
    assert f"kept as {first.name}" in server.notes[0]
    assert sorted(kept.iterdir()) == [first, second]
    expected = reconstruct(open_scan(file), prior, FEW)
    for path in (first, second):
        found = read_result(path)
        np.testing.assert_array_equal(found.reconstruction, expected.reconstruction)
        np.testing.assert_array_equal(found.std, expected.std)
        np.testing.assert_array_equal(found.deviations, expected.deviations)
        np.testing.assert_array_equal(found.reconstruction, received.series(1))
        assert found.audit.keys() == expected.audit.keys()
        for name in ("figures", "warnings", "noise_std", "std_degrees_of_freedom"):
            assert found.audit[name] == expected.audit[name]
        own = {"scan_digest", "scan_name"}
        assert {k: v for k, v in found.attributes.items() if k not in own} == {
            k: v for k, v in expected.attributes.items() if k not in own
        }
        assert b"Muster" not in path.read_bytes()
    assert "Muster" not in "".join(server.notes)


def test_half_a_scan_is_not_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    prepare_folder(kept)
    xml, lines = lines_of(small_scan(tmp_path, slices=2))
    with running(Service(SENSE, save=kept)) as server:
        with connect(server.port) as peer:
            peer.sendall(text_message(HEADER, xml))
            for head, samples in lines[: len(lines) - 3]:
                peer.sendall(acquisition_message(head, samples))
        whole = send_scan(recorded(tmp_path, 3), "127.0.0.1", server.port)
    assert len(whole.images) == 1
    assert len(kept_results(kept)) == len(list(kept.iterdir())) == 1
    assert "ended by an error" in server.notes[0]


def test_a_full_or_lost_folder_costs_no_image(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    prepare_folder(kept)
    kept.rmdir()
    kept.write_text("in the way")
    with running(Service(SENSE, save=kept)) as server:
        received = send_scan(recorded(tmp_path, 4), "127.0.0.1", server.port)
    assert len(received.images) == 1
    assert "not kept" in server.notes[0]
    assert str(tmp_path) not in server.notes[0]


def test_slices_of_two_methods_are_no_result(tmp_path: Path) -> None:
    """A deadline in the middle of a scan: its images are sent, but no file says that one method made them."""
    prepare_folder(tmp_path / "kept")
    keeper = Keeper(tmp_path / "kept")
    keeper._writer, keeper._method = object(), "posterior"  # type: ignore[assignment]
    work = SimpleNamespace(solver=SimpleNamespace(method=SimpleNamespace(name="sense")))
    keeper.put(work, SimpleNamespace(index=1, images={}))  # type: ignore[arg-type]
    assert keeper.reason == "its slices were made by posterior and by sense"
    assert keeper.finish(work) is None  # type: ignore[arg-type]


def test_charts_over_results_as_they_come(tmp_path: Path, run_cli) -> None:
    """The alarm comes with the scan at which 'recon monitor check' over all of them has it, and once."""
    good = cohort(tmp_path / "good", 0, 24)
    path = tmp_path / "baseline.json"
    assert run_cli("monitor", "fit", good, "--out", path, "--run-length", 50).code == 0
    new = cohort(tmp_path / "new", 100, 4)
    cohort(new, 200, 8, noise=1.3)
    found = run_cli("monitor", "check", new, "--baseline", path, "--json").json["strata"][0]["alarms"]
    results = sorted(new.iterdir())
    watch = begun(read_baseline(path), results[:2])
    said = [watch.add(result) for result in results[2:]]
    numbers = [number for number, words in enumerate(said, start=3) if words.startswith("CHANGED")]
    assert numbers == [alarm["number"] for alarm in found]
    assert numbers[0] > 4
    assert "noise" in said[numbers[0] - 3]
    other = cohort(tmp_path / "other", 300, 1, site="site-b")
    assert watch.add(next(other.iterdir())).startswith("not judged")
    assert f"(scan {len(results) + 1} of its kind" in watch.add(results[-1])


def test_what_is_there_already_is_charted_once(tmp_path: Path, run_cli, monkeypatch) -> None:
    """A server that is started again on thousands of results must not draw the charts anew for each."""
    good = cohort(tmp_path / "good", 0, 24)
    path = tmp_path / "baseline.json"
    assert run_cli("monitor", "fit", good, "--out", path, "--run-length", 50).code == 0
    lengths: list[int] = []
    whole = live.charted
    monkeypatch.setattr(live, "charted", lambda stratum, scans: lengths.append(len(scans)) or whole(stratum, scans))
    begun(read_baseline(path), sorted(good.iterdir()))
    assert lengths == [24]


@pytest.mark.slow
def test_twenty_scans_three_at_a_time_and_then_a_noisier_one(tmp_path: Path) -> None:
    """The load of the issue: 20 scans, three peers at any time, each gets its own images and its own file. They are
    the baseline of a watch, which then sees a change in the scans that come."""
    kept = tmp_path / "kept"
    prepare_folder(kept)
    files = [recorded(tmp_path, number) for number in range(20)]
    places = threading.Semaphore(3)
    found: dict[int, np.ndarray] = {}

    def send(number: int) -> None:
        with places:
            found[number] = send_scan(files[number], "127.0.0.1", server.port).series(1)

    with running(Service(SENSE, save=kept)) as server:
        peers = [threading.Thread(target=send, args=(number,)) for number in range(20)]
        for peer in peers:
            peer.start()
        for peer in peers:
            peer.join()
    assert sorted(found) == list(range(20))
    for number, file in enumerate(files):
        np.testing.assert_array_equal(found[number], reconstruct(open_scan(file), options=SENSE).reconstruction)
    baseline = fit_baseline([read_watched(path)[0] for path in kept_results(kept)], FitOptions(run_length=50))
    later = tmp_path / "later"
    prepare_folder(later)
    with running(Service(SENSE, save=later, watch=begun(baseline, []).add)) as server:
        for number in range(30, 38):
            send_scan(recorded(tmp_path, number, noise=0.02 if number < 33 else 0.03), "127.0.0.1", server.port)
    changed = ["CHANGED" in note for note in server.notes]
    assert not any(changed[:3])
    assert any(changed[3:6])


def test_bad_options_are_one_line_before_anybody_connects(tmp_path: Path, run_cli) -> None:
    (tmp_path / "file").write_text("no folder")
    for words, said in (
        (["--monitor", tmp_path / "baseline.json"], "--save DIR"),
        (["--save", tmp_path / "file"], "cannot be kept there"),
        (["--save", tmp_path / "kept", "--monitor", tmp_path / "none.json"], "no such baseline"),
    ):
        refused = run_cli("serve", "--port", 0, "--method", "sense", *words)
        assert refused.code == 2
        assert said in refused.err
        assert refused.err.count("\n") == 1
