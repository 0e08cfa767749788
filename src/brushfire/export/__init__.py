"""Finished labels and intensities to files that other programs read, checked to have arrived."""

from brushfire.export.intensities import Conversion, IntensitySource, export_intensities
from brushfire.export.labels import LabelSource, export_labels
from brushfire.export.writing import ExportReport, check_target

__all__ = [
    "Conversion",
    "ExportReport",
    "IntensitySource",
    "LabelSource",
    "check_target",
    "export_intensities",
    "export_labels",
]
