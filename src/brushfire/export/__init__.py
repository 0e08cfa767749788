"""Finished labels to files that other programs read, and a check that they arrived."""

from brushfire.export.labels import ExportReport, LabelSource, check_target, export_labels

__all__ = ["ExportReport", "LabelSource", "check_target", "export_labels"]
