"""Sample data made by code: foams, reconstructed from few, noisy or missing projections."""

from __future__ import annotations

from brushfire.samples.foam import (
    FOAM_CLASSES,
    SAMPLE_NAME,
    FoamPaths,
    make_foam,
    make_small_foam,
    sample_paths,
    sample_volume_path,
)
from brushfire.samples.phantom import VOXEL_SIZE
from brushfire.samples.scans import (
    SCANS,
    ZOOM_SCAN,
    FoamScan,
    ScanSettings,
    ZoomedFoam,
    save_scan,
    save_zoom,
    scan_foam,
    zoom_foam,
)
from brushfire.samples.sparse import make_sparse_huge

__all__ = [
    "FOAM_CLASSES",
    "SAMPLE_NAME",
    "SCANS",
    "VOXEL_SIZE",
    "ZOOM_SCAN",
    "FoamPaths",
    "FoamScan",
    "ScanSettings",
    "ZoomedFoam",
    "make_foam",
    "make_small_foam",
    "make_sparse_huge",
    "sample_paths",
    "sample_volume_path",
    "save_scan",
    "save_zoom",
    "scan_foam",
    "zoom_foam",
]
