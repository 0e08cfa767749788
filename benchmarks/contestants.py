"""Who plays in `few_strokes.py`: each takes strokes, learns for a while and shows a prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip
from sklearn.ensemble import RandomForestClassifier
from torch.nn import functional

from arena import classes_of
from brushfire.annotations import open_annotations
from brushfire.engine.coach import Coach
from brushfire.engine.messages import Stepped
from brushfire.learning import Learner, LearningSettings
from brushfire.learning.disturbance import disturbed
from brushfire.learning.warming import warm_up
from brushfire.networks import SegmentationModel, suggest_settings
from brushfire.networks.features import FeatureBank
from brushfire.networks.msd import MixedScaleDense

if TYPE_CHECKING:
    from collections.abc import Callable

    from arena import Case
    from brushfire.engine.messages import Event


class Contestant(ABC):
    """Learns the strokes of a case.

    Parameters
    ----------
    case : Case
        What is segmented.
    seed : int
        Of everything that is random.
    now : callable
        Returns seconds of the clock that counts.
    """

    def __init__(self, case: Case, seed: int, now: Callable[[], float]) -> None:
        self.case = case
        self.seed = seed
        self.now = now
        self.steps = 0
        self.first_seconds: float | None = None
        """From the first strokes to the prediction of the slice that is looked at."""

    @abstractmethod
    def take(self, labels: np.ndarray) -> None:
        """Take over all strokes so far, (z, y, x)."""

    @abstractmethod
    def learn(self, seconds: float) -> None:
        """Learn, and predict what is looked at, for about so long."""

    @abstractmethod
    def predict(self, z: int) -> np.ndarray:
        """Return the classes (y, x) that are shown in a slice."""

    @property
    def looked_at(self) -> int:
        """The slice that the user looks at."""
        return self.case.painted[len(self.case.painted) // 2]


class Ours(Contestant):
    """Brushfire as its engine runs it, with some parts switched off."""

    def __init__(
        self, case: Case, seed: int, now: Callable[[], float], without: tuple[str, ...] = ()
    ) -> None:
        super().__init__(case, seed, now)
        depth, height, width = case.volume.shape
        size = case.volume.voxel_size
        network = suggest_settings(case.volume.shape, size[0] / size[1])
        learning = LearningSettings(
            **{key: value for part in without for key, value in _OFF[part].items()}
        )
        case.volume.statistics()

        def learner() -> Learner:
            return Learner(case.volume, network, learning, device="cpu", seed=seed)

        warm_up()  # as the window does while it opens
        self._coach = Coach(learner, network, self._hear)
        self._store = open_annotations(None, (depth, height, width))
        self._model: SegmentationModel | None = None
        self._visible = 0.0
        self._debt = 0.0

    def take(self, labels: np.ndarray) -> None:
        self._store[...] = labels
        self._coach.set_annotations(self._store.snapshot())
        self._coach.train()

    def learn(self, seconds: float) -> None:
        started = self.now() - self._debt
        while self._coach.working and (self._model is None or self.now() - started < seconds):
            snapshot = self._coach.work(self._visible)
            if snapshot is not None:
                began = self.now()
                self._model = SegmentationModel.from_snapshot(snapshot)
                self.predict(self.looked_at)
                self._visible = self.now() - began
                if self.first_seconds is None:
                    self.first_seconds = self.now() - started
        # The last piece of work took that much longer; who rests saves nothing up.
        self._debt = max(0.0, self.now() - started - seconds)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Stepped):
            self.steps = event.step

    def predict(self, z: int) -> np.ndarray:
        model = self._model
        assert model is not None
        return classes_of(model, self.case, z)


class Forest(Contestant):
    """A random forest on multi-scale features; it answers at once, its time is not counted."""

    def __init__(self, case: Case, seed: int, now: Callable[[], float]) -> None:
        super().__init__(case, seed, now)
        self._bank = FeatureBank()
        self._statistics = case.volume.statistics()
        self._labels = np.zeros(0)
        self._fitted = True

    def take(self, labels: np.ndarray) -> None:
        self._labels, self._fitted = labels.copy(), False

    def learn(self, seconds: float) -> None:
        if self._fitted:
            return
        began = self.now()
        painted = [z for z in self.case.painted if self._labels[z].any()]
        inputs = [self._features(z)[:, self._labels[z] > 0].T for z in painted]
        targets = [self._labels[z][self._labels[z] > 0] for z in painted]
        self._trees = RandomForestClassifier(100, random_state=self.seed, n_jobs=1)
        self._trees.fit(np.concatenate(inputs), np.concatenate(targets))
        self._fitted = True
        if self.first_seconds is None:
            self.predict(self.looked_at)
            self.first_seconds = self.now() - began

    def _features(self, z: int) -> np.ndarray:
        mean, std = np.array(self._statistics.mean), np.array(self._statistics.std)
        image = (self.case.slab(z, 0)[:, 0] - mean[:, None, None]) / std[:, None, None]
        maps = self._bank(torch.from_numpy(image.astype(np.float32))[None])[0].numpy()
        return np.delete(maps, np.arange(0, len(maps), self._bank.per_channel), 0)

    def predict(self, z: int) -> np.ndarray:
        maps = self._features(z)
        return self._trees.predict(maps.reshape(len(maps), -1).T).reshape(maps.shape[1:])


class FromScratch(Contestant):
    """A network from random weights, on square patches around strokes; no part of ours."""

    rate = 1e-3
    side = 192

    def __init__(self, case: Case, seed: int, now: Callable[[], float]) -> None:
        super().__init__(case, seed, now)
        statistics = case.volume.statistics()
        self._mean, self._std = np.array(statistics.mean), np.array(statistics.std)
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self._net = self.network(len(case.volume.channels), len(case.classes))
        self._optimiser = torch.optim.AdamW(self._net.parameters(), lr=self.rate)
        self._images = {z: self._image(z) for z in case.painted}
        self._index = np.zeros(256, np.int64)
        self._index[case.classes] = np.arange(len(case.classes))
        self._labels = np.zeros(0)
        self._debt = 0.0

    @abstractmethod
    def network(self, channels: int, classes: int) -> torch.nn.Module:
        """Return the network, from (1, channels, y, x) to (1, classes, y, x)."""

    def _image(self, z: int) -> np.ndarray:
        image = (self.case.slab(z, 0)[:, 0] - self._mean[:, None, None]) / self._std[:, None, None]
        return image.astype(np.float32)

    def take(self, labels: np.ndarray) -> None:
        self._labels = labels.copy()

    def learn(self, seconds: float) -> None:
        started = self.now() - self._debt
        self._net.train()
        while self.now() - started < seconds:
            self._step()
            self.steps += 1
            if self.first_seconds is None:
                self.first_seconds = self.now() - started
        self._debt = self.now() - started - seconds

    def _step(self) -> None:
        value = self._rng.choice(np.unique(self._labels[self._labels > 0]))
        places = np.argwhere(self._labels == value)
        z, *middle = places[self._rng.integers(len(places))]
        rows, columns = (
            self._window(at, size) for at, size in zip(middle, self._labels.shape[1:], strict=True)
        )
        image, labels = self._images[z][:, rows, columns], self._labels[z][rows, columns]
        if labels.shape[0] == labels.shape[1]:
            turn = int(self._rng.integers(4))
            image, labels = np.rot90(image, turn, (1, 2)), np.rot90(labels, turn)
        if self._rng.integers(2):
            image, labels = image[:, :, ::-1], labels[:, ::-1]
        x = disturbed(torch.from_numpy(image.copy())[None], 0.1, self._generator)
        logits = self._net(x)[0]
        known = labels > 0
        target = torch.from_numpy(self._index[labels[known]])
        counts = torch.bincount(target, minlength=len(logits)).clamp(min=1)
        loss = functional.cross_entropy(
            logits[:, torch.from_numpy(known)].t(), target, counts.float() ** -0.5
        )
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()

    def _window(self, at: int, size: int) -> slice:
        side = min(self.side, size - size % 16)  # a U-Net halves it four times
        start = int(np.clip(at - self._rng.integers(side), 0, size - side))
        return slice(start, start + side)

    def predict(self, z: int) -> np.ndarray:
        image = torch.from_numpy(self._image(z))[None]
        height, width = image.shape[2:]
        pad = (0, -width % 16, 0, -height % 16)
        self._net.eval()
        with torch.no_grad():
            logits = self._net(functional.pad(image, pad, mode="replicate"))
        return np.asarray(self.case.classes)[logits[0, :, :height, :width].argmax(0).numpy()]


class UNet(FromScratch):
    """MONAI's BasicUNet in two dimensions."""

    def network(self, channels: int, classes: int) -> torch.nn.Module:
        from monai.networks.nets import BasicUNet

        return BasicUNet(spatial_dims=2, in_channels=channels, out_channels=classes)


class PlainMSD(FromScratch):
    """An MS-D network of depth 30 on intensities, from random weights."""

    rate = 3e-3

    def network(self, channels: int, classes: int) -> torch.nn.Module:
        layers = MixedScaleDense(channels, 30, 1, range(1, 11), classes)
        return torch.nn.Sequential(layers, torch.nn.Conv2d(layers.maps, classes, 1))


_OFF: dict[str, dict[str, object]] = {
    "pretrained": {"pretrained": False},
    "trees": {"trees": False},
    "proportions": {"proportions": False},
    "steps": {"learning_rate": 1e-8},
    "average": {"average": 0.0},
    "augment": {"augment": False},
    "consistency": {"consistency": 0.0},
    "decay": {"weight_decay": 0.0},
    "dice": {"dice_weight": 0.0},
}
CONTESTANTS = {"forest": Forest, "unet": UNet, "msd": PlainMSD, "ours": Ours}
