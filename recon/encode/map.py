"""Where in the patient an encoder's tokens moved: token values painted back into the reference's own voxels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.atomic import atomic_path
from recon.encode.distance import common_tokens, cosine_distance
from recon.encode.geometry import paint
from recon.encode.interface import Embedding, PreparedVolume
from recon.encode.neurovfm_head import DiagnosticHead
from recon.errors import ReconError
from recon.images.slice_axis import voxel_spacing


@dataclass(frozen=True, eq=False)
class TokenMap:
    """One value a token, and the same painted into the volume that the preprocessing was made from."""

    quantity: str  # what the values are, in words
    token_values: NDArray[np.float64]  # [token]
    coords: NDArray[np.int64]  # [token, 3]
    painted: NDArray[np.float32]  # [readout, phase, slice] of the reference; 0 where no token lies
    affine: NDArray[np.float64]
    token_size: tuple[float, float, float]  # mm along depth, height, width: the map resolves nothing finer
    voxels: tuple[float, float, float]  # of the encoder's own grid in one token, along depth, height, width
    peak_world: tuple[float, float, float]  # RAS+ mm, centre of the token of largest magnitude
    logit_change: float | None = None  # with a label: exactly the sum of token_values

    @property
    def resolution(self) -> str:
        """The map's resolution in words, in-plane first: one token, in mm and in voxels of the encoder's grid."""
        depth, height, width = self.token_size
        counts = [round(count) for count in self.voxels]
        edges = [size / count for size, count in zip(self.token_size, counts, strict=True)]
        return (
            f"{height:.3g} x {width:.3g} x {depth:.3g} mm (one token: {counts[1]} x {counts[2]} x {counts[0]} voxels "
            f"of {edges[1]:.3g} x {edges[2]:.3g} x {edges[0]:.3g} mm)"
        )


def difference_map(prepared: PreparedVolume, reference: Embedding, reconstruction: Embedding) -> TokenMap:
    """1 - cosine of every token against the reference's.

    Raises ReconError when the two were not prepared with the same preprocessing.
    """
    _same_tokens(reference, reconstruction)
    common = common_tokens(reference, reconstruction)
    distances = cosine_distance(common.reference, common.other).numpy()
    return painted_map(prepared, "1 - cosine of the token against the reference's", distances)


def label_map(
    prepared: PreparedVolume, reference: Embedding, reconstruction: Embedding, head: DiagnosticHead, label: str
) -> TokenMap:
    """What every token added to the change of one label's logit: scale_c (a_ic h_ic - a'_ic h'_ic), exact.

    The values sum to the change of the logit, because the head is a sum over tokens (classify, then aggregate).

    Raises ReconError for an unknown label, or when the two were not prepared with the same preprocessing.
    """
    _same_tokens(reference, reconstruction)
    column = head.index(label)
    before, after = head.score([reference]), head.score([reconstruction])
    change = (after.contributions[0][:, column] - before.contributions[0][:, column]).numpy()
    logit_change = float(after.logits[column] - before.logits[column])
    return painted_map(prepared, f"contribution to the change of the score of {label}", change, logit_change)


def write_map(path: str | Path, token_map: TokenMap) -> None:
    """Write the painted map as NIfTI in the reference's space. Raises ReconError when it cannot be written."""
    import nibabel

    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ReconError(f"{path}: a map is written as NIfTI; give a name that ends in .nii.gz")
    image = nibabel.Nifti1Image(token_map.painted, token_map.affine)
    image.set_qform(token_map.affine, code=1)
    image.set_sform(token_map.affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"exploratory; tokens {token_map.resolution}".encode()[:79]
    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)


def painted_map(
    prepared: PreparedVolume, quantity: str, values: NDArray[np.float64], logit_change: float | None = None
) -> TokenMap:
    """One value a token, painted back into the volume that the preprocessing was made from."""
    coords = prepared.coords.numpy()
    preprocessing = prepared.preprocessing
    ratio = np.array(prepared.token_size) / voxel_spacing(preprocessing.grid_affine)
    peak = prepared.token_to_world @ np.append(coords[np.argmax(np.abs(values))], 1.0)
    return TokenMap(
        quantity=quantity,
        token_values=values,
        coords=coords,
        painted=paint(values, coords, prepared.token_to_world, preprocessing.shape, preprocessing.affine),
        affine=preprocessing.affine,
        token_size=prepared.token_size,
        voxels=(float(ratio[0]), float(ratio[1]), float(ratio[2])),
        peak_world=(float(peak[0]), float(peak[1]), float(peak[2])),
        logit_change=logit_change,
    )


def _same_tokens(reference: Embedding, reconstruction: Embedding) -> None:
    if len(reference.coords) != len(reconstruction.coords) or bool((reference.coords != reconstruction.coords).any()):
        raise ReconError(
            "reference and reconstruction have different tokens; prepare both with the reference's preprocessing"
        )
