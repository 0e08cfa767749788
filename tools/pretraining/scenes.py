"""Pictures of made-up materials and tissues, with classes that a person could want to paint.

A family is one kind of picture: what is in it, what that looks like, and what is one class. Two
pictures of a family stand for two slices of one volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from brushfire.scribbles import draw_stroke

Array = np.ndarray[Any, Any]
Rng = np.random.Generator

UNKNOWN = 255
_FEWEST = 40  # pixels of a class in a picture
_LARGEST = 0.995  # share of a picture that one class may fill


def uniform_log(rng: Rng, low: float, high: float, size: int | None = None) -> Any:
    """Return numbers whose logarithm is uniform."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def field(rng: Rng, side: int, scale: float, stretch: float = 1.0, angle: float = 0.0) -> Array:
    """Return a smooth random field of unit variance, (side, side); the scale is in pixels."""
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    u = (np.cos(angle) * y + np.sin(angle) * x) * stretch
    v = (np.cos(angle) * x - np.sin(angle) * y) / stretch
    gain = np.exp(-0.5 * (u**2 + v**2) * (2 * np.pi * scale / 2.5) ** 2)
    values = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) * gain, s=(side, side))
    return (values - values.mean()) / (values.std() + 1e-9)


@dataclass(frozen=True)
class Texture:
    """How a part looks inside: a field, or spots, ridges or rough ground made of one."""

    kind: str
    scale: float
    stretch: float
    angle: float

    @classmethod
    def random(cls, rng: Rng) -> Texture:
        kind = str(rng.choice(["field", "spots", "ridges", "rough"]))
        stretch = uniform_log(rng, 1, 2) if rng.random() < 0.4 else 1.0
        return cls(kind, uniform_log(rng, 1, 12), stretch, rng.uniform(0, np.pi))

    def draw(self, rng: Rng, side: int) -> Array:
        wide = self.scale * (1.5 if self.kind == "ridges" else 1.0)
        values = field(rng, side, wide, self.stretch, self.angle)
        if self.kind == "spots":
            return np.clip(values, 0.8, None) * 2 - 1.8
        if self.kind == "ridges":
            return 1.5 * (0.8 - np.abs(values))
        if self.kind == "rough":
            return (values + 0.6 * field(rng, side, 4 * self.scale)) / 1.2
        return values


class Scene(Protocol):
    """Where things lie: parts, numbered from 0 to below `count`, and which body each is of."""

    count: int

    def draw(self, rng: Rng, side: int) -> tuple[Array, Array]:
        """Return parts and bodies, both (side, side)."""


class Cells:
    """Cells of a few kinds with or without walls: tissue, grains, foam."""

    def __init__(self, rng: Rng) -> None:
        self.size = uniform_log(rng, 12, 70)
        self.wall = rng.uniform(1.0, 5.0) if rng.random() < 0.8 else 0.0
        self.uneven = rng.uniform(0, 0.5)
        self.bend = rng.uniform(0, 0.35) * self.size
        self.kinds = int(rng.integers(1, 4))
        self.shares = rng.dirichlet(2 * np.ones(self.kinds))
        self.aspect, self.angle = np.exp(rng.uniform(0, 0.6)), rng.uniform(0, np.pi)
        self.even = rng.random() < 0.5
        self.count = self.kinds + bool(self.wall)

    def draw(self, rng: Rng, side: int) -> tuple[Array, Array]:
        seeds = rng.uniform(
            -0.8 * side, 0.8 * side, (max(4, int((1.6 * side / self.size) ** 2)), 2)
        )
        if self.even:
            near = cKDTree(seeds).query(seeds, 2)[0][:, 1]
            seeds = seeds[(near > 0.35 * self.size) | (np.arange(len(seeds)) < 4)]
        pixels = np.indices((side, side)).reshape(2, -1).T - side / 2
        pixels = pixels + self.bend * np.stack(
            [field(rng, side, self.size / 2).ravel() for _ in range(2)], 1
        )
        turn = np.array([[np.cos(self.angle), np.sin(self.angle)],
                         [-np.sin(self.angle), np.cos(self.angle)]])  # fmt: skip
        squeeze = np.array([self.aspect, 1 / self.aspect])
        far, nearest = cKDTree(seeds @ turn.T * squeeze).query(pixels @ turn.T * squeeze, 2)
        bodies = nearest[:, 0].reshape(side, side)
        parts = rng.choice(self.kinds, len(seeds), p=self.shares)[bodies]
        if self.wall:
            half = self.wall / 2 * (1 + self.uneven * field(rng, side, self.size))
            walls = (far[:, 1] - far[:, 0]).reshape(side, side) / 2 < half + 0.3
            parts, bodies = np.where(walls, self.kinds, parts), np.where(walls, len(seeds), bodies)
        return parts, bodies


class Particles:
    """Round or ragged bodies of some sizes on a ground, some with a shell."""

    def __init__(self, rng: Rng) -> None:
        self.kinds = int(rng.integers(1, 4))
        self.radius = uniform_log(rng, 2.5, 22, self.kinds)
        self.cover = uniform_log(rng, 0.006, 0.45, self.kinds) / self.kinds
        self.aspect = np.exp(np.abs(rng.normal(0, 0.3, self.kinds)))
        self.ragged = rng.uniform(0, 0.35) if rng.random() < 0.6 else 0.0
        self.shell = rng.random(self.kinds) < 0.25
        self.shell_part = self.kinds + 1 if rng.random() < 0.5 else 0
        self.count = self.kinds + 2

    def draw(self, rng: Rng, side: int) -> tuple[Array, Array]:
        parts, bodies = np.zeros((2, side, side), int)
        rag = self.ragged * field(rng, side, 6)
        for kind in range(self.kinds):
            mean = self.cover[kind] * side * side / (np.pi * self.radius[kind] ** 2)
            for _ in range(int(np.clip(rng.poisson(mean), 1, 150))):
                self._add(kind, parts, bodies, rag, rng)
        return parts, bodies

    def _add(self, kind: int, parts: Array, bodies: Array, rag: Array, rng: Rng) -> None:
        side, aspect = len(parts), self.aspect[kind]
        radius = self.radius[kind] * np.exp(rng.normal(0, 0.2))
        angle, middle = rng.uniform(0, np.pi), rng.uniform(-radius, side + radius, 2)
        reach = int(radius * aspect * 1.5 + 4)
        first = np.maximum(middle.astype(int) - reach, 0)
        last = np.minimum(middle.astype(int) + reach, side)
        if (last <= first).any():
            return
        box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        y, x = np.mgrid[box] - middle[:, None, None]
        u = (np.cos(angle) * y + np.sin(angle) * x) / aspect
        v = (np.cos(angle) * x - np.sin(angle) * y) * aspect
        distance = np.hypot(u, v) / radius + rag[box]
        inside = distance < 1
        parts[box][inside], bodies[box][inside] = kind + 1, bodies.max() + 1
        if self.shell[kind] and radius > 5:
            parts[box][inside & (distance > 1 - 2.5 / radius)] = self.shell_part


class Phases:
    """Level sets of a random field: porous media, compartments of tissue, nested organs."""

    def __init__(self, rng: Rng) -> None:
        self.scale = uniform_log(rng, 6, 60)
        self.fine = rng.uniform(0, 0.3) if rng.random() < 0.5 else 0.0
        self.levels = np.sort(rng.normal(0, 1.1, int(rng.integers(1, 5))))
        self.stretch = np.exp(rng.uniform(0, 0.6)) if rng.random() < 0.4 else 1.0
        self.angle = rng.uniform(0, np.pi)
        self.folded = rng.random() < 0.3
        self.central = rng.uniform(0.5, 2.0) if rng.random() < 0.35 else 0.0
        self.count = len(self.levels) + 1

    def draw(self, rng: Rng, side: int) -> tuple[Array, Array]:
        values = field(rng, side, self.scale, self.stretch, self.angle)
        if self.folded:
            values = 1.6 * np.abs(values) - 1.2
        if self.central:
            y, x = np.mgrid[:side, :side] / side - 0.5 - rng.normal(0, 0.12, 2)[:, None, None]
            values = 0.6 * values + self.central * (1 - 4.5 * np.hypot(y, x))
        parts = np.digitize(values + self.fine * field(rng, side, 4), self.levels)
        return parts, parts


class Fibres:
    """Curved lines of one or two widths."""

    def __init__(self, rng: Rng) -> None:
        self.kinds = int(rng.integers(1, 3))
        self.width, self.number = rng.uniform(1, 7, self.kinds), rng.integers(3, 22, self.kinds)
        self.angle, self.spread = rng.uniform(0, np.pi), rng.uniform(0.1, 1.6)
        self.curl = rng.uniform(0, 0.06)
        self.count = self.kinds + 1

    def draw(self, rng: Rng, side: int) -> tuple[Array, Array]:
        parts, bodies = np.zeros((2, side, side), int)
        steps = np.arange(-1.2 * side, 1.2 * side, 0.7)
        for kind in range(self.kinds):
            marks = np.zeros((side, side), int)
            for line in range(self.number[kind]):
                angle = self.angle + self.spread * rng.standard_normal()
                angle = angle + 0.3 * rng.normal(0, self.curl) * steps
                angle += 0.02 * np.cumsum(rng.standard_normal(len(steps)))
                way = 0.7 * np.stack([np.sin(angle), np.cos(angle)])
                places = rng.uniform(0, side, (2, 1)) + np.cumsum(way, 1) - way.sum(1)[:, None] / 2
                places = places[:, ((places >= 0) & (places < side)).all(0)].astype(int)
                marks[places[0], places[1]] = line + 1
            far, nearest = ndimage.distance_transform_edt(marks == 0, return_indices=True)
            inside = far < self.width[kind] / 2
            parts[inside] = kind + 1
            bodies[inside] = marks[nearest[0], nearest[1]][inside] + 1000 * kind
        return parts, bodies


_MAIN = (Cells, Cells, Particles, Phases, Fibres)
_INNER = (Particles, Phases, Cells, Fibres)


class Family:
    """One kind of picture: parts, perhaps with others inside one of them, and their looks."""

    def __init__(self, rng: Rng) -> None:
        self.main: Scene = _MAIN[rng.integers(len(_MAIN))](rng)
        self.inner: Scene | None = None
        self.total = self.main.count
        if rng.random() < 0.6:
            self.inner = _INNER[rng.choice(len(_INNER), p=[0.55, 0.2, 0.15, 0.1])](rng)
            self.total += self.inner.count - 1
        self.host = int(rng.integers(self.main.count))
        self.classes = self._classes(rng)
        self._choose_looks(rng)

    def _classes(self, rng: Rng) -> Array:
        """Return the class of each part: what lies inside is mostly of its host's class."""
        classes = np.arange(self.total)
        if self.inner is not None and rng.random() < 0.65:
            classes[self.main.count :] = self.host
        used, classes = np.unique(classes, return_inverse=True)
        most = int(rng.integers(2, 5)) if self.total > 2 else 2
        if len(used) > most:
            groups = np.concatenate([np.arange(most), rng.integers(0, most, len(used) - most)])
            classes = rng.permutation(groups)[classes]
        return classes

    def _choose_looks(self, rng: Rng) -> None:
        total = self.total
        self.mean = rng.normal(0, 1, total) * rng.uniform(0.3, 1.5)
        alike = rng.random(total) < 0.15
        self.mean[alike] = self.mean[rng.integers(total)]
        self.textures = [Texture.random(rng) for _ in range(total)]
        if rng.random() < 0.3:
            self.textures = [self.textures[0]] * total
        self.contrast = rng.uniform(0, 0.8, total) * (rng.random(total) < 0.7)
        self.by_body = rng.uniform(0, 0.5) if rng.random() < 0.4 else 0.0
        self.rim = rng.normal(0, 1) if rng.random() < 0.25 else 0.0
        self.blur = rng.uniform(0.3, 1.6)
        self.noise = uniform_log(rng, 0.03, 0.9)
        self.grain = rng.uniform(0.6, 2.2) if rng.random() < 0.5 else 0.0
        self.shading = rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0
        self.gamma = np.exp(rng.normal(0, 0.3)) if rng.random() < 0.3 else 1.0

    def draw(self, rng: Rng, side: int) -> tuple[Array, Array]:
        """Return a picture, and the class of each pixel from 0."""
        parts, bodies = self.main.draw(rng, side)
        if self.inner is not None:
            inside = parts == self.host
            if rng.random() < 0.5:
                inside = ndimage.distance_transform_edt(inside) > 2
            more = self.inner.draw(rng, side)[0]
            parts = np.where(inside & (more > 0), self.main.count - 1 + more, parts)
        parts = np.minimum(parts, self.total - 1)
        return self._look(parts, bodies, rng), self.classes[parts]

    def _look(self, parts: Array, bodies: Array, rng: Rng) -> Array:
        side = len(parts)
        image = self.mean[parts]
        for part in np.unique(parts):
            here = parts == part
            image[here] += self.contrast[part] * self.textures[part].draw(rng, side)[here]
        image += rng.normal(0, self.by_body, bodies.max() + 1)[bodies]
        image[ndimage.morphological_gradient(self.classes[parts], 3) > 0] += self.rim
        noise = rng.standard_normal((side, side))
        if self.grain:
            noise = ndimage.gaussian_filter(noise, self.grain)
        image = ndimage.gaussian_filter(image, self.blur) + self.noise * noise / noise.std()
        image += self.shading * field(rng, side, side / 3)
        low, high = image.min(), image.max()
        return ((image - low) / (high - low + 1e-9)) ** self.gamma


@dataclass(frozen=True)
class Episode:
    """Two pictures of a family, each (side, side): normalised, their classes, and strokes.

    Classes count from 0, `UNKNOWN` elsewhere; strokes are on the first picture, the class plus 1.
    """

    painted: Array
    painted_truth: Array
    strokes: Array
    other: Array
    other_truth: Array


def draw_episode(rng: Rng, side: int) -> Episode:
    """Return an episode of two classes at least, each in both pictures."""
    while True:
        family = Family(rng)
        (one, truth), (other, other_truth) = family.draw(rng, side), family.draw(rng, side)
        both = np.intersect1d(truth, other_truth)
        sizes = np.bincount(truth.ravel(), minlength=both.max() + 1)[both]
        if len(both) < 2 or sizes.min() < _FEWEST or sizes.max() > _LARGEST * truth.size:
            continue
        table = np.full(truth.max() + other_truth.max() + 1, UNKNOWN, np.uint8)
        table[both] = np.arange(len(both))
        truth, other_truth = table[truth], table[other_truth]
        mean, std = one.mean(), one.std() + 1e-6
        one, other = ((image - mean) / std for image in (one, other))
        strokes = _paint(truth, rng)
        return Episode(
            one.astype(np.float32), truth, strokes, other.astype(np.float32), other_truth
        )


def _paint(truth: Array, rng: Rng) -> Array:
    """Return one to eight strokes of each class."""
    strokes = np.zeros(truth.shape, np.uint8)
    count = int(rng.integers(1, 9))
    for value in np.unique(truth[truth != UNKNOWN]):
        mask, painted = truth == value, strokes > 0
        places = np.argwhere(mask)
        for _ in range(count):
            start, length = places[rng.integers(len(places))], int(rng.integers(18, 180))
            draw_stroke(mask, painted, start, length, 1, rng)
        strokes[painted & (strokes == 0)] = value + 1
    return strokes
