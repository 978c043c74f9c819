"""Every volume of a table of labels, read and prepared for an encoder."""

from collections.abc import Iterator

from recon.encode.encoders import find_row
from recon.encode.geometry import check_volume
from recon.encode.interface import Encoder, PreparedVolume, ReferencePreprocessing
from recon.encode.probes.labels import LabelledVolume, LabelTable
from recon.encode.volumes import Series, onto_reference, read_series


def prepared_volumes(encoder: Encoder, table: LabelTable) -> Iterator[tuple[LabelledVolume, Series, PreparedVolume]]:
    """The rows of a table in order, each with its volume as read (a reconstruction: on its reference's voxels) and as
    prepared, a reconstruction with the preprocessing of its reference.

    Raises ReconError, naming the file, when one cannot be read or placed.
    """
    references: dict[tuple[str, str], tuple[Series, ReferencePreprocessing]] = {}
    for entry in table.entries:
        series = read_series(entry.file)
        if entry.acceleration == 1:
            check_volume(series.values, series.affine, str(entry.file), find_row(encoder.name).least_slices)
            prepared = encoder.prepare(series.pixels, series.affine)
            references[entry.case, entry.view] = (series, prepared.preprocessing)
        else:
            base, preprocessing = references[entry.case, entry.view]
            series = onto_reference(series, base)
            prepared = encoder.prepare(series.pixels, base.affine, preprocessing)
        yield entry, series, prepared
