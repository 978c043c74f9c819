"""What is mutated, how, through which command it goes, and what is right: one row a kind of file."""

import functools
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from recon.reconstruction.options import ReconstructionOptions
from tests.fuzzing import oracles
from tests.fuzzing.binary_mutations import BART, DICOM, MAT5, NIFTI, NPY, NPZ, PICKLED, SAFETENSORS, XLSX
from tests.fuzzing.driving import REFUSED, Answer, Drive, Verdict, accepted, called, refusal, run, wrong
from tests.fuzzing.hdf5_mutations import STRUCTURE, attributes
from tests.fuzzing.mutation import BYTES, Mutation, bytes_anywhere, bytes_at_the_start, of_parts
from tests.fuzzing.seeds import AXES, package_of, protocol_of
from tests.fuzzing.text_mutations import json_file, table_file, xml_in, yaml_file
from tests.fuzzing.twix_mutations import TWIX


@dataclass(frozen=True)
class Target:
    """One kind of file in one class of the table. ``share`` of the class's mutants, ``beside``: files it needs."""

    row: str
    seed: str
    mutations: tuple[Mutation, ...]
    drive: Drive
    share: int = 1
    beside: tuple[str, ...] = ()


@functools.cache
def _seed_image(seeds: Path, name: str) -> Any:
    """The image of the unchanged seed."""
    out = seeds / f"image_of_{name}"
    answer = run("reconstruct", seeds / name, "--out", out, "--method", "zero-filled", "--threads", 1, "--json")
    assert answer.code == 0, answer.words
    return oracles.image_of(out / f"{Path(name).stem}.h5")


def _scan(name: str) -> Drive:
    """``recon info``, then ``recon reconstruct``: they must agree, and give the seed's image where nothing counts."""

    def drive(path: Path, seeds: Path, expected: str) -> Verdict:
        told = run("info", path, "--json")
        out = path.parent / "out"
        made = run("reconstruct", path, "--out", out, "--method", "zero-filled", "--threads", 1, "--json")
        if not told.accepted or made.code:
            for answer in (told, made):
                if not answer.accepted:
                    verdict = refusal(answer, (path.name, path.with_suffix(".hdr").name))
                    if verdict.column != REFUSED:
                        return verdict
            if told.code == 0 and made.code:
                return wrong(f"info says that it can be reconstructed; {made.words}")
            if told.code == 2 and not made.code:
                return wrong(f"reconstructed, but info refuses: {told.words}")
            return (
                wrong("refused although nothing that counts was changed")
                if expected == "same"
                else refusal(made, (path.name, path.with_suffix(".hdr").name))
            )
        if told.code == 1:
            return wrong(f"reconstructed, but info says it cannot be: {told.json['problems']}")
        if expected == "refusal":
            return wrong("accepted")
        return _right_image(path, seeds / name, out / f"{path.stem}.h5", told, expected)

    return drive


def _right_image(path: Path, seed: Path, result: Path, told: Answer, expected: str) -> Verdict:
    with h5py.File(result) as file:
        affine = file.attrs.get("affine")
    if odd := oracles.impossible_geometry(told.json["voxel_size_mm"], affine):
        return wrong(odd)
    image = oracles.image_of(result)
    if not np.isfinite(image).all():
        return wrong("image that is not finite")
    facts = oracles.ismrmrd_facts if seed.name.startswith("ismrmrd") else oracles.scan_facts
    unchanged = expected == "same" or (facts(path) == facts(seed) and seed.suffix == ".h5")
    if unchanged and not oracles.same_image(image, _seed_image(seed.parent, seed.name)):
        return wrong("another image, although nothing was changed that may change it")
    return accepted()


def _evaluated(path: Path, seeds: Path, expected: str, answer: Answer, unchanged: bool) -> Verdict:
    if not answer.accepted:
        verdict = refusal(answer, (path.name,))
        wrongly = expected == "same" and verdict.column == REFUSED
        return wrong(f"refused: {answer.words}") if wrongly else verdict
    if expected == "refusal":
        return wrong("accepted")
    found = answer.json
    if not all(np.isfinite(oracles.numbers_of(found))):
        return wrong("figures that are not finite")
    if unchanged or expected == "same":
        healthy = _healthy_evaluation(seeds)
        if any(abs(found[key] - healthy[key]) > 1e-3 for key in ("nrmse", "psnr", "ssim", "hfen")):
            return wrong(f"other figures, although nothing was changed that may change them: {found}")
    return accepted()


@functools.cache
def _healthy_evaluation(seeds: Path) -> Any:
    return run("evaluate", seeds / "results" / "fast.h5", "--reference", seeds / "full.h5", "--json").json


def _result(path: Path, seeds: Path, expected: str) -> Verdict:
    answer = run("evaluate", path, "--reference", seeds / "full.h5", "--json")
    unchanged = False
    if answer.accepted:
        try:
            here, there = oracles.image_of(path), oracles.image_of(seeds / "results" / "fast.h5")
            with h5py.File(path) as one, h5py.File(seeds / "results" / "fast.h5") as other:
                same_place = oracles._bytes(one.attrs.get("affine")) == oracles._bytes(other.attrs.get("affine"))
            unchanged = same_place and here.shape == there.shape and bool((here == there).all())
        except Exception as error:
            return wrong(f"accepted, but h5py cannot read it: {error}")
    return _evaluated(path, seeds, expected, answer, unchanged)


def _nifti(path: Path, seeds: Path, expected: str) -> Verdict:
    answer = run("evaluate", path, "--reference", seeds / "full.h5", "--json")
    unchanged = False
    if answer.accepted:
        import nibabel

        here, there = nibabel.load(path), nibabel.load(seeds / "results" / "fast.nii.gz")
        if oracles.impossible_geometry(None, here.affine):
            return wrong("affine that spans no volume")
        unchanged = bool(np.array_equal(here.get_fdata(), there.get_fdata()) and np.allclose(here.affine, there.affine))
    return _evaluated(path, seeds, expected, answer, unchanged)


def _dicom(path: Path, seeds: Path, expected: str) -> Verdict:
    from recon.images.volume import read_volume

    answer = called(lambda: read_volume(path))  # evaluate, encode and reader-study export read it so
    if not answer.accepted:
        return refusal(answer, (path.name,))
    if expected == "refusal":
        return wrong("accepted")
    volume = answer.value
    if odd := oracles.impossible_geometry(None, volume.affine):
        return wrong(odd)
    return accepted() if np.isfinite(volume.values).all() else wrong("values that are not finite")


def _array(path: Path, seeds: Path, expected: str) -> Verdict:
    out = path.parent / "converted.h5"
    key = ["--key", "kspace"] if path.suffix == ".mat" else []
    answer = run("convert", path, "--axes", AXES, *key, "--out", out, "--json")
    if not answer.accepted:
        return refusal(answer, (path.name,))
    if expected == "refusal":
        return wrong("accepted")
    with h5py.File(out) as file:
        made = np.asarray(file["kspace"])
    if path.suffix == ".npy":
        wanted = np.asarray(np.load(path, allow_pickle=False), np.complex64).reshape(made.shape)
        if not np.array_equal(made, wanted):
            return wrong("other kspace than numpy reads")
    return accepted() if np.isfinite(made).all() else wrong("values that are not finite")


def _anatomy(path: Path, seeds: Path, expected: str) -> Verdict:
    from recon.simulate.anatomy_files import find_anatomies

    answer = called(lambda: [source.load() for source in find_anatomies(path)])
    if not answer.accepted:
        return refusal(answer, (path.name,))
    if expected == "refusal":
        return wrong("accepted")
    fractions = [anatomy.fractions for anatomy in answer.value]
    return accepted() if all(np.isfinite(values).all() for values in fractions) else wrong("not finite")


def _configuration(path: Path, seeds: Path, expected: str) -> Verdict:
    words = ["--prior", seeds / "prior", "--out", path.parent / "out", "--threads", 1, "--json"]
    answer = run("reconstruct", seeds / "fast.h5", "--config", path, *words)
    if not answer.accepted:  # what is wrong with an option by itself names its file, with scan or prior its key
        return refusal(answer, (path.name, *vars(ReconstructionOptions())))
    image = oracles.image_of(path.parent / "out" / "fast.h5")
    return accepted() if np.isfinite(image).all() else wrong("image that is not finite")


def _protocol(path: Path, seeds: Path, expected: str) -> Verdict:
    answer = run("reader-study", "plan", path, "--out", path.parent / "study", "--json")
    return accepted() if answer.accepted else refusal(answer, (path.name,))


def _column_map(path: Path, seeds: Path, expected: str) -> Verdict:
    from reader_study.tables import load_column_map

    answer = called(lambda: load_column_map(path))
    return accepted() if answer.accepted else refusal(answer, (path.name,))


@functools.cache
def _healthy_posterior(seeds: Path) -> Any:
    run("reconstruct", seeds / "fast.h5", "--prior", seeds / "prior", "--out", seeds / "posterior", *_QUICKLY)
    return oracles.image_of(seeds / "posterior" / "fast.h5")


_QUICKLY = ("--samples", 2, "--steps", 2, "--threads", 1, "--contrast", "FLAIR", "--json")


def _prior(path: Path, seeds: Path, expected: str) -> Verdict:
    out = path.parent / "out"
    answer = run("reconstruct", seeds / "fast.h5", "--prior", path, "--out", out, *_QUICKLY)
    if not answer.accepted:
        return refusal(answer, (path.name,))
    if expected == "refusal":
        return wrong("accepted")
    image = oracles.image_of(out / "fast.h5")
    if not np.isfinite(image).all():
        return wrong("image that is not finite")
    if (path / "prior.json").read_bytes() == (seeds / "prior" / "prior.json").read_bytes():
        # Its hash is in there, so the weights are the seed's, too; and config.json repeats what is in there.
        same = oracles.same_image(image, _healthy_posterior(seeds))
        return accepted() if same else wrong("another image, although prior.json and the weights are the same")
    facts = json.loads((path / "prior.json").read_text("utf-8"))
    sigmas, values = facts["denoiser_variance_sigmas"], facts["denoiser_variances"]
    labels = facts["contrast_labels"]
    sound = (
        facts["sigma_data"] > 0
        and all(low < high for low, high in itertools.pairwise(sigmas))
        and all(0 < value < np.inf for value in values)
        and len(set(labels.values())) == len(labels)
        and all(0 <= label < 64 for label in labels.values())
    )
    return accepted() if sound else wrong("a prior of facts that cannot be true")


def _prepared(path: Path, seeds: Path, expected: str) -> Verdict:
    from recon.prior.dataset import open_prepared

    def everything() -> list[Any]:
        scan = open_prepared(path)
        return [scan.read(index) for index in range(scan.slices)]

    answer = called(everything)
    if not answer.accepted:
        return refusal(answer, (path.name,))
    if expected == "refusal":
        return wrong("accepted")
    return accepted() if all(bool(image.isfinite().all()) for image in answer.value) else wrong("not finite")


def _embeddings(path: Path, seeds: Path, expected: str) -> Verdict:
    answer = run("probe", "fit", path, "--label", "lesion", "--out", path.parent / "probe.safetensors", "--json")
    if not answer.accepted:
        return refusal(answer, (path.name,))
    return wrong("accepted") if expected == "refusal" else accepted()


def _labels(path: Path, seeds: Path, expected: str) -> Verdict:
    from recon.encode.probes.labels import read_labels

    answer = called(lambda: read_labels(path))
    return accepted() if answer.accepted else refusal(answer, (path.name,))


def _lesion(path: Path, seeds: Path, expected: str) -> Verdict:
    result = seeds / "results" / "fast.h5"
    answer = run("evaluate", result, "--reference", seeds / "full.h5", "--lesions", path, "--json")
    if not answer.accepted:
        return refusal(answer, (path.name,))
    return accepted() if all(np.isfinite(oracles.numbers_of(answer.json))) else wrong("figures that are not finite")


def _encoder(path: Path, seeds: Path, expected: str) -> Verdict:
    from recon.encode.latent_prediction.encoder import load

    answer = called(lambda: load(path))
    if not answer.accepted:
        return refusal(answer, (path.name,))
    if expected == "refusal":
        return wrong("accepted")
    sound = all(bool(value.isfinite().all()) for value in answer.value.network.state_dict().values())
    return accepted() if sound else wrong("weights that are not finite")


def _pickled(path: Path, seeds: Path, expected: str) -> Verdict:
    from recon.encode.weights import read_tensors

    answer = called(lambda: read_tensors(path))
    if not answer.accepted:
        return refusal(answer, (path.name,))
    return wrong("accepted") if expected == "refusal" else accepted()


def _sheet(path: Path, seeds: Path, expected: str) -> Verdict:
    from reader_study.sheet_check import check_sheet
    from reader_study.sheet_files import read_sheet

    package = package_of((seeds / "public.key").read_text("ascii"))
    protocol = protocol_of(seeds)
    healthy = read_sheet(seeds / "sheet.json").payload()

    def checked() -> Any:
        sheet = read_sheet(path)
        check_sheet(sheet, protocol, [package])
        return sheet.payload()

    answer = called(checked)
    if not answer.accepted:
        return refusal(answer, (path.name,))
    return accepted() if answer.value == healthy else wrong("accepted with other content than was signed")


def _table(path: Path, seeds: Path, expected: str) -> Verdict:
    from reader_study.tables import read_table

    answer = called(lambda: read_table(path, protocol_of(seeds)))
    if not answer.accepted:
        return refusal(answer, (path.name,))
    sound = all(score.score in protocol_of(seeds).allowed(score.key) for score in answer.value)
    return accepted() if sound else wrong("a score out of scale")


_OWN = tuple(
    ("recon", name) for name in ("version", "contrast", "voxel_size_mm", "affine", "phase_limits", "image_shape",
                                 "source_digest", "identity", "subject", "echo_time_ms", "field_strength_t")
)  # fmt: skip
_SCAN_ATTRIBUTES = (*_OWN, ("/", "acquisition"), ("/", "patient_id"), ("/", "max"), ("/", "norm"))


def _attributes(known: Sequence[tuple[str, str]]) -> tuple[Mutation, ...]:
    return (Mutation("attributes", attributes(tuple(known))),)


def _file(*names: str, times: int = 1) -> tuple[Mutation, ...]:
    """Mutations of an HDF5 file whose root has attributes of these names, which are changed ``times`` as often."""
    return (*STRUCTURE, *BYTES, *_attributes([("/", name) for name in names]) * times)


def _json_in(name: str) -> Mutation:
    return Mutation(f"{name} as JSON", of_parts((name,), json_file))


_ISMRMRD = (*STRUCTURE, *BYTES, Mutation("XML", xml_in("dataset/xml")), Mutation("XML", xml_in("dataset/xml")))
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_PRIOR = (
    *(_json_in("prior.json"),) * 3,
    _json_in("config.json"),
    Mutation("bytes", of_parts(("prior.json", "config.json", _WEIGHTS), bytes_anywhere)),
    Mutation("bytes at the start", of_parts((_WEIGHTS,), bytes_at_the_start)),
)
_ENCODER = (
    *(_json_in("config.json"),) * 2,
    Mutation("bytes", of_parts(("config.json", "model.safetensors"), bytes_anywhere)),
    *(Mutation(entry.name, of_parts(("model.safetensors",), entry.change)) for entry in SAFETENSORS),
)
_YAML = (Mutation("YAML", yaml_file), Mutation("YAML", yaml_file), Mutation("YAML", yaml_file), *BYTES)
_JSON = (*(Mutation("JSON", json_file),) * 3, *BYTES)
_TABLE = (*(Mutation("cells", table_file),) * 3, *BYTES)

_WRITTEN = "results, prepared, embeddings"
_RESULT = _file("affine", "voxel_size_mm", "audit", "configuration", "contrast", "format", times=4)
_PREPARED = _file("format", "subject", "contrast", "noise_sigma", "echo_time_ms", times=3)
_EMBEDDINGS = _file("format", "encoder", "weights_hash", times=2)

TARGETS = (
    Target("fastMRI structure", "full.h5", STRUCTURE, _scan("full.h5")),
    Target("fastMRI structure", "fast.h5", STRUCTURE, _scan("fast.h5")),
    Target("fastMRI attributes", "fast.h5", _attributes(_SCAN_ATTRIBUTES), _scan("fast.h5")),
    Target("fastMRI bytes and metadata", "fast.h5", BYTES, _scan("fast.h5")),
    Target("fastMRI XML", "fast.h5", (Mutation("XML", xml_in("ismrmrd_header")),), _scan("fast.h5")),
    Target("ISMRMRD", "ismrmrd.h5", _ISMRMRD, _scan("ismrmrd.h5")),
    Target("Siemens", "vb.dat", TWIX, _scan("vb.dat")),
    Target("Siemens", "vd.dat", TWIX, _scan("vd.dat")),
    Target("BART", "bart.cfl", BART, _scan("bart.cfl"), beside=("bart.hdr",)),
    Target("NIfTI, DICOM", "results/fast.nii.gz", NIFTI, _nifti),
    Target("NIfTI, DICOM", "results/fast_dicom", DICOM, _dicom),
    Target("npy, mat, npz", "array.npy", NPY, _array),
    Target("npy, mat, npz", "array5.mat", MAT5, _array),
    Target("npy, mat, npz", "array73.mat", (*STRUCTURE, *BYTES), _array),
    Target("npy, mat, npz", "anatomy/head.npz", NPZ, _anatomy),
    Target("YAML", "reconstruct.yaml", _YAML, _configuration, share=2),
    Target("YAML", "protocol.yaml", _YAML, _protocol, share=2),
    Target("YAML", "columns.yaml", _YAML, _column_map),
    Target("prior folders", "prior", _PRIOR, _prior),
    Target(_WRITTEN, "results/fast.h5", _RESULT, _result, share=2),
    Target(_WRITTEN, "prepared/full.h5", _PREPARED, _prepared),
    Target(_WRITTEN, "embeddings.h5", _EMBEDDINGS, _embeddings),
    Target(_WRITTEN, "lesion.h5", (*STRUCTURE, *BYTES), _lesion),
    Target("encoder weights", "encoder", _ENCODER, _encoder, share=2),
    Target("encoder weights", "pickled.pt", PICKLED, _pickled),
    Target("sheets and tables", "sheet.json", _JSON, _sheet),
    Target("sheets and tables", "sheet.csv", _TABLE, _sheet),
    Target("sheets and tables", "table.csv", _TABLE, _table),
    Target("sheets and tables", "table.xlsx", XLSX, _table),
    Target("sheets and tables", "labels.csv", _TABLE, _labels, beside=("full.h5", "fast.h5")),
)  # fmt: skip
ROWS = tuple(dict.fromkeys(target.row for target in TARGETS))
