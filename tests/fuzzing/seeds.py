"""One healthy file of every format, made by the project's own simulator and writers (and the ismrmrd package)."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch
import yaml

from cli.main import main
from reader_study.protocol import Protocol, load_protocol
from reader_study.sheet import BlindingGuess, Expected, Flag, Package, Response, Sheet
from reader_study.sheet_files import write_sheet
from reader_study.signing import new_signing_key
from tests.fuzzing.twix_mutations import write_twix
from tests.small_world import write_small_prior

AXES = "slice,coil,readout,phase"


def command(*words: object) -> None:
    """Run a command of recon that must succeed."""
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"making the seeds failed: recon {' '.join(map(str, words))}") from stop


def make_seeds(folder: Path) -> Path:
    """Write every seed into ``folder``; the same files each time but for dates inside of them."""
    folder.mkdir(parents=True, exist_ok=True)
    command(
        "simulate", "--out", folder / "sim", "--subjects", 2, "--contrast", "FLAIR", "--size", 40, "--coils", 3,
        "--slices", 2, "--snr", 30, "--stroke", "--json",
    )  # fmt: skip
    full = folder / "full.h5"
    shutil.copy(next(path for path in sorted((folder / "sim").glob("*_FLAIR.h5"))), full)
    shutil.copy(next(path for path in sorted((folder / "sim").glob("*_lesion.h5"))), folder / "lesion.h5")
    command("undersample", full, "--acceleration", 2, "--calibration-lines", 12, "--out", folder / "fast.h5", "--json")
    command("convert", full, "--out", folder / "bart.cfl", "--json")
    command("prepare", full, "--out", folder / "prepared", "--json")
    command(
        "reconstruct", folder / "fast.h5", "--out", folder / "results", "--method", "zero-filled",
        "--format", "h5,nifti,dicom", "--json",
    )  # fmt: skip
    _write_ismrmrd(folder / "ismrmrd.h5", full)
    write_twix(folder, _kspace(full))
    _write_arrays(folder, full)
    write_small_prior(folder / "prior")
    _write_configurations(folder)
    _write_tables(folder)
    _write_embeddings(folder / "embeddings.h5")
    _write_encoder(folder / "encoder")
    torch.save({"a": torch.ones(4), "b": torch.zeros(2, 3)}, folder / "pickled.pt")
    command("info", *(folder / name for name in ("full.h5", "fast.h5", "ismrmrd.h5", "vb.dat", "vd.dat", "bart.cfl")))
    return folder


def _kspace(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["kspace"])


def _write_ismrmrd(path: Path, full: Path) -> None:
    import ismrmrd

    kspace = _kspace(full)
    slices, _, readout, phase = kspace.shape
    matrix = f"<matrixSize><x>{readout}</x><y>{phase}</y><z>1</z></matrixSize>"
    space = f"{matrix}<fieldOfView_mm><x>200</x><y>200</y><z>4</z></fieldOfView_mm>"
    limits = f"<minimum>0</minimum><maximum>{phase - 1}</maximum><center>{phase // 2}</center>"
    xml = (
        '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        "<measurementInformation><protocolName>t2_flair</protocolName></measurementInformation>"
        "<acquisitionSystemInformation><systemVendor>Any</systemVendor>"
        "<systemFieldStrength_T>1.5</systemFieldStrength_T></acquisitionSystemInformation>"
        "<experimentalConditions><H1resonanceFrequency_Hz>63000000</H1resonanceFrequency_Hz></experimentalConditions>"
        f"<encoding><encodedSpace>{space}</encodedSpace><reconSpace>{space}</reconSpace>"
        f"<encodingLimits><kspace_encoding_step_1>{limits}</kspace_encoding_step_1></encodingLimits>"
        "<trajectory>cartesian</trajectory></encoding>"
        "<sequenceParameters><TR>9000</TR><TE>90</TE></sequenceParameters></ismrmrdHeader>"
    )
    dataset = ismrmrd.Dataset(str(path), mode="w")
    dataset.write_xml_header(xml.encode())
    for number in range(slices):
        for line in range(phase):
            acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(kspace[number, :, :, line]))
            acquisition.idx.kspace_encode_step_1, acquisition.idx.slice = line, number
            acquisition.center_sample, acquisition.sample_time_us = readout // 2, 10.0
            acquisition.position = (0.0, 0.0, 4.0 * number)
            acquisition.read_dir, acquisition.phase_dir, acquisition.slice_dir = (1, 0, 0), (0, 1, 0), (0, 0, 1)
            dataset.append_acquisition(acquisition)
    dataset.close()


def _write_arrays(folder: Path, full: Path) -> None:
    import scipy.io

    kspace = _kspace(full)
    np.save(folder / "array.npy", kspace)
    scipy.io.savemat(folder / "array5.mat", {"kspace": kspace}, do_compression=True)
    with h5py.File(folder / "array73.mat", "w") as file:
        file.create_dataset("kspace", data=kspace)
    (folder / "anatomy").mkdir(exist_ok=True)
    z, y, x = np.mgrid[-1:1:32j, -1:1:40j, -1:1:32j]
    radius = np.sqrt(x**2 + y**2 + z**2)
    labels = np.select([radius < 0.3, radius < 0.5, radius < 0.7], [3, 2, 1], 0).astype(np.uint8)
    t1 = np.choose(labels, [0.05, 0.2, 0.6, 1.0]).astype(np.float32)
    stacks = {"t1": t1[None], "labels": labels[None]}
    np.savez_compressed(folder / "anatomy" / "head.npz", **stacks)  # type: ignore[arg-type]


def _write_configurations(folder: Path) -> None:
    from recon.reconstruction.options import ReconstructionOptions
    from tests.reader_study.study_maker import write_protocol

    options = replace(ReconstructionOptions(), samples=2, steps=2, coils=3, sigma_max=5.0, sigma_min=0.01, seed=3)
    (folder / "reconstruct.yaml").write_text(yaml.safe_dump({**vars(options), "contrast": "FLAIR"}), "utf-8")
    write_protocol(folder / "protocol.yaml")
    (folder / "columns.yaml").write_text("reader: who\npresentation: image\nitems:\n  overall: score\n", "utf-8")


def protocol_of(folder: Path) -> Protocol:
    """The protocol of the seeds' reader study."""
    return load_protocol(folder / "protocol.yaml")


def package_of(public_key: str) -> Package:
    """The package that the seed's sheet answers, as the study's log would have it."""
    asked = tuple(Expected(f"P{n}", n, False, n < 2, (2, 12, 10)) for n in range(1, 4))
    return Package("package-1", "R1", 1, "packages/R1", public_key, "0" * 64, asked)


def _write_tables(folder: Path) -> None:
    import openpyxl

    jwk, public = new_signing_key()
    (folder / "public.key").write_text(public, "ascii")
    when = "2025-01-01T10:00:00Z"
    flags = (Flag("artifact", "A", 1, 3, 4),)
    responses = tuple(
        Response(f"P{n}", n, False, {"overall": n + 1, "noise": 2}, flags, "fine", 12.5, when, when)
        for n in range(1, 4)
    )
    guesses = (BlindingGuess("P1", "new"),)
    sheet = Sheet(protocol_of(folder).hash, "package-1", "R1", 1, when, when, responses, guesses).signed(jwk)
    write_sheet(folder / "sheet.json", sheet)
    write_sheet(folder / "sheet.csv", sheet)
    rows = [["reader", "presentation", "overall", "noise"], *(["R1", f"P{n}", n + 1, 2] for n in range(1, 4))]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(folder / "table.xlsx")
    labels = [
        ["file", "subject", "case", "acceleration", "lesion"],
        ["full.h5", "a", "a", 1, 0],
        ["fast.h5", "a", "a", 2, 1],
    ]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(labels)


def _write_embeddings(path: Path) -> None:
    from recon.encode.probes.store import Embeddings, pseudonym, write_embeddings

    generator = np.random.default_rng(0)
    persons = tuple(pseudonym(f"person {n}") for n in range(16))
    labels = np.arange(16) % 2
    pooled = (generator.normal(size=(16, 6)) + labels[:, None]).astype(np.float32)
    tokens = tuple(generator.normal(size=(3, 4)).astype(np.float16) for _ in range(16))
    splits = ("fit",) * 12 + ("eval",) * 4
    embeddings = Embeddings(
        "small", "0" * 64, pooled, tokens, persons, persons, np.ones(16), splits, {"lesion": labels.astype(np.int64)}
    )
    write_embeddings(path, embeddings)


def _write_encoder(folder: Path) -> None:
    from recon.encode.latent_prediction.encoder import save
    from recon.encode.latent_prediction.network import random_network
    from recon.encode.latent_prediction.options import TransformerOptions
    from recon.seeding import torch_generator

    options = TransformerOptions(width=16, depth=1, heads=2)
    save(folder, random_network(options, torch_generator(0, "fuzzing")), {"licence": "Apache-2.0"}, "Random weights.")
