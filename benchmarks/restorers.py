"""What `denoise.py` compares: scikit-image's ways to restore, a U-Net, and ours."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import calibrate_denoiser, denoise_nl_means, denoise_tv_chambolle

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from brushfire.geometry import Box
from brushfire.learning.restoring import RestorationLearner
from brushfire.networks.restoration import RestorationModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brushfire.geometry import Triple
    from brushfire.learning.restoring import RestorationSettings, Scan
    from brushfire.networks import NetworkSettings
    from brushfire.volumes import Volume

    Array = np.ndarray[Any, np.dtype[np.float32]]

WEIGHTS = np.geomspace(0.05, 4.0, 12)  # of total variation, in deviations of the noise
STRENGTHS = np.geomspace(0.4, 2.0, 4)  # of non-local means, likewise
JUDGED = 4  # slices by which a weight is chosen
PROPOSALS = 6  # in the time that a network has
RATE = 1e-3  # of the U-Net
BATCH = 2
SIDE = 128
U_NET_STEP = 16  # it halves an image four times


@dataclass(frozen=True)
class Measure:
    """How images are compared with the truth, slice by slice.

    Parameters
    ----------
    span : float
        From black to white.
    affine : bool
        Whether each slice is brought to the scale and offset nearest to the truth before.
    """

    span: float
    affine: bool = False

    def __call__(self, found: Array, truth: Array) -> tuple[float, float]:
        """Return PSNR and SSIM, means over slices (z, y, x)."""
        rows = [self._slice(a, b) for a, b in zip(found, truth, strict=True)]
        psnr, ssim = np.mean(rows, axis=0)
        return float(psnr), float(ssim)

    def _slice(self, found: Array, truth: Array) -> tuple[float, float]:
        a, b = found.astype(np.float64), truth.astype(np.float64)
        if self.affine:
            slope, offset = np.polyfit(a.ravel(), b.ravel(), 1)
            a = slope * a + offset
        psnr = peak_signal_noise_ratio(b, a, data_range=self.span)
        return psnr, structural_similarity(b, a, data_range=self.span)


@dataclass(frozen=True)
class Tests:
    """What is restored and scored.

    Parameters
    ----------
    noisy, clean : ndarray
        (z, y, x).
    measure : Measure
        By which it is scored.
    flat : bool
        Whether slices are pictures of their own: then nothing is smoothed across them.
    """

    noisy: Array
    clean: Array
    measure: Measure
    flat: bool = False

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise, by the truth."""
        return float((self.noisy - self.clean).std())

    def each(self, restore: Callable[[Array], Array], noisy: Array) -> Array:
        """Restore slice by slice, where these are flat, or all at once."""
        return np.stack([restore(one) for one in noisy]) if self.flat else restore(noisy)

    def best(
        self, restore: Callable[[Array, float], Array], strengths: np.ndarray[Any, Any]
    ) -> tuple[float, Array]:
        """Restore with the strength that the truth of some slices says is best."""
        first = max(0, (len(self.noisy) - JUDGED) // 2)
        some = slice(first, first + JUDGED)

        def score(strength: float) -> float:
            found = self.each(lambda one: restore(one, strength), self.noisy[some])
            return self.measure(found, self.clean[some])[0]

        best = float(max(strengths, key=score))
        return best, self.each(lambda one: restore(one, best), self.noisy)


def total_variation(tests: Tests) -> Array:
    """Return the least total variation of slices or all at once, as suits the truth best.

    So does its weight: no user could choose it.
    """
    found = [
        replace(tests, flat=flat).best(denoise_tv_chambolle, WEIGHTS * tests.sigma)[1]
        for flat in sorted({True, tests.flat})
    ]
    return max(found, key=lambda one: tests.measure(one, tests.clean)[0])


def calibrated_variation(tests: Tests) -> Array:
    """Return J-invariant total variation of slices, with a weight chosen without the truth.

    Weight and answer are of Batson & Royer (2019), who take noise to be independent from pixel to
    pixel; the weight is that of the middle slice.
    """
    middle = tests.noisy[len(tests.noisy) // 2].astype(np.float64)
    scale = float(middle.std())
    denoise = calibrate_denoiser(
        middle, denoise_tv_chambolle, {"weight": list(WEIGHTS * scale / 2)}
    )
    return np.stack([denoise(one.astype(np.float64)) for one in tests.noisy]).astype(np.float32)


def non_local_means(tests: Tests) -> Array:
    """Return non-local means, with the strength that suits the truth best.

    Patches of 3 voxels at distances up to 3; of flat slices 5 pixels, up to 6.
    """
    size, distance = (5, 6) if tests.flat else (3, 3)

    def restore(image: Array, strength: float) -> Array:
        found: Array = denoise_nl_means(
            image, patch_size=size, patch_distance=distance, h=strength, fast_mode=True
        )
        return found

    return tests.best(restore, STRENGTHS * tests.sigma)[1]


class UNet:
    """MONAI's BasicUNet of 2.0 million weights, learning from pairs.

    Batch normalisation, mean squared error, Adam at a rate that falls to 0, squares of 128 pixels
    that are turned and flipped, two a step.

    Parameters
    ----------
    noisy, clean : ndarray
        What it learns from, (z, y, x).
    slices : int
        Neighbouring slices that it sees.
    seed : int
        Of weights and squares.
    """

    def __init__(self, noisy: Array, clean: Array, *, slices: int, seed: int) -> None:
        from monai.networks.nets import BasicUNet

        torch.manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._slices = slices
        self._from = float(noisy.mean()), float(noisy.std())
        self._to = float(clean.mean()), float(clean.std())
        self._noisy, self._clean = self._padded(noisy), (clean - self._to[0]) / self._to[1]
        self.net = BasicUNet(spatial_dims=2, in_channels=slices, out_channels=1, norm="batch")

    def _padded(self, noisy: Array) -> Array:
        context = self._slices // 2
        return np.pad(
            (noisy - self._from[0]) / self._from[1], ((context, context), (0, 0), (0, 0)), "edge"
        )

    @property
    def weights(self) -> int:
        """How many it has."""
        return sum(one.numel() for one in self.net.parameters())

    def learn(self, seconds: float) -> int:
        """Learn for as much processor time; return the number of steps."""
        optimiser = torch.optim.Adam(self.net.parameters(), lr=RATE)
        started, steps = time.process_time(), 0
        self.net.train()
        while (share := (time.process_time() - started) / seconds) < 1:
            optimiser.param_groups[0]["lr"] = RATE * (0.5 + 0.5 * math.cos(math.pi * share))
            xs, ys = zip(*(self._square() for _ in range(BATCH)), strict=True)
            found = self.net(torch.from_numpy(np.stack(xs)))
            loss = torch.nn.functional.mse_loss(found, torch.from_numpy(np.stack(ys)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            steps += 1
        return steps

    def _square(self) -> tuple[Array, Array]:
        depth, height, width = self._clean.shape
        z = int(self._rng.integers(depth))
        y, x = (int(self._rng.integers(max(0, n - SIDE) + 1)) for n in (height, width))
        part = slice(y, y + SIDE), slice(x, x + SIDE)
        image, truth = self._noisy[(slice(z, z + self._slices), *part)], self._clean[(z, *part)]
        quarters, mirrored = int(self._rng.integers(4)), bool(self._rng.integers(2))
        both = np.rot90(np.concatenate([image, truth[None]]), quarters, (1, 2))
        both = both[:, :, ::-1] if mirrored else both
        return both[:-1].copy(), both[-1:].copy()

    def restore(self, noisy: Array) -> Array:
        """Return (z, y, x)."""
        padded = self._padded(noisy).astype(np.float32)
        height, width = noisy.shape[1:]
        margin = 0, -width % U_NET_STEP, 0, -height % U_NET_STEP
        self.net.eval()
        planes = []
        with torch.no_grad():
            for z in range(len(noisy)):
                slab = torch.from_numpy(padded[z : z + self._slices])[None]
                found = self.net(torch.nn.functional.pad(slab, margin, mode="replicate"))
                planes.append(found[0, 0, :height, :width].numpy())
        return np.stack(planes) * self._to[1] + self._to[0]


def learned(
    volume: Volume,
    target: Volume | None,
    network: NetworkSettings,
    settings: RestorationSettings,
    *,
    seconds: float,
    seed: int,
    origin: Triple = (0, 0, 0),
    others: Sequence[Scan] = (),
) -> tuple[RestorationModel, int]:
    """Return the model that is shown after as much processor time, and the number of steps."""
    learner = RestorationLearner(
        volume, target, network, settings, target_origin=origin, others=others, device="cpu",
        seed=seed,
    )  # fmt: skip
    started = time.process_time()
    learner.fit()
    learner.propose()
    for k in range(PROPOSALS):
        until = started + seconds * (k + 1) / PROPOSALS
        while time.process_time() < until:
            learner.step()
        learner.propose()
    assert learner.shown is not None  # the first proposal has nothing to be worse than
    return RestorationModel.from_snapshot(learner.shown), learner.step_count


def restored(model: RestorationModel, volume: Volume) -> Array:
    """Return what a model makes of its one output, (z, y, x)."""
    _, height, width = volume.shape
    context = model.settings.context
    planes = []
    for z in range(volume.shape[0]):
        box = Box((z, 0, 0), (z + 1, height, width)).grow((context, 0, 0))
        planes.append(model.restore(np.asarray(volume.read_padded(box), np.float32))[0, 0])
    return np.stack(planes)
