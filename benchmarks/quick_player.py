"""A learner that fits what was painted and makes no gradient steps, for benchmarks of strokes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import User, classes_of
from brushfire.annotations import open_annotations
from brushfire.learning import Learner, LearningSettings
from brushfire.networks import SegmentationModel, suggest_settings

if TYPE_CHECKING:
    import numpy as np

    from arena import Case
    from brushfire.learning.examples import Examples


class QuickPlayer:
    """A user who paints, and a learner that follows.

    Parameters
    ----------
    case : Case
        What is painted.
    seed : int
        Of everything that is random.
    examples : Examples, optional
        What the learner starts from.

    Attributes
    ----------
    user : User
        Paints.
    models : list of SegmentationModel
        The last three that were shown, the newest first.
    """

    def __init__(self, case: Case, seed: int, examples: Examples | None = None) -> None:
        self.case = case
        volume = case.volume
        volume.statistics()
        network = suggest_settings(volume.shape, volume.voxel_size[0] / volume.voxel_size[1])
        self._learner = Learner(
            volume, network, LearningSettings(), device="cpu", seed=seed, examples=examples
        )
        self.store = open_annotations(None, volume.shape)
        self.models: list[SegmentationModel] = []
        self._found: dict[int, np.ndarray] = {}
        self.user = User(case, seed)

    def learn(self) -> None:
        """Fit all strokes."""
        self.store[...] = self.user.labels
        self._learner.set_annotations(self.store.snapshot())
        self._learner.fit()
        snapshot = self._learner.propose().snapshot
        if snapshot is not None:
            self.models = [SegmentationModel.from_snapshot(snapshot), *self.models[:2]]
            self._found.clear()

    def predict(self, z: int) -> np.ndarray:
        """Return the classes (y, x) that are shown in a slice."""
        if z not in self._found:
            self._found[z] = classes_of(self.models[0], self.case, z)
        return self._found[z]
