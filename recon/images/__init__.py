"""The image volume and its files: results, NIfTI, DICOM; grids and orientation."""
