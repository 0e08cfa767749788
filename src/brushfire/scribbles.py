"""Scribbles drawn by a script inside a known truth: for benchmarks and the demonstration."""

from __future__ import annotations

from typing import Any

import numpy as np

_STROKES = 6  # of each class: enough for some to be held out
_TURN = 0.45  # standard deviation of a change of direction, radians a step
_TRIES = 12  # turns that are tried before a stroke ends
_LARGEST_PART = 0.5  # of a class's pixels that may be painted


def scribbles(
    truth: np.ndarray[Any, Any],
    fraction: float,
    rng: np.random.Generator,
    *,
    radius: int = 1,
    strokes: int = _STROKES,
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return random-walk strokes inside each class of a slice.

    Every class that is there gets several strokes of about equal length, as a person would
    paint them; none leaves its class.

    Parameters
    ----------
    truth : ndarray
        Class values of a slice, (y, x); 0 is unknown and never painted.
    fraction : float
        Share of the pixels that may be painted, all classes together.
    rng : Generator
        Decides everything.
    radius : int
        Of the brush, in pixels; 1 paints lines 3 pixels wide.
    strokes : int
        Strokes of each class, more where they end early.

    Returns
    -------
    ndarray
        uint8, the class value where a stroke went, else 0.
    """
    labels = np.zeros(truth.shape, np.uint8)
    classes = [int(value) for value in np.unique(truth) if value]
    for value in classes:
        mask = truth == value
        budget = int(fraction * truth.size / len(classes))
        budget = min(budget, max(1, int(_LARGEST_PART * mask.sum())))
        painted = _paint(mask, budget, strokes, radius, rng)
        labels[painted] = value
    return labels


def _paint(
    mask: np.ndarray[Any, Any], budget: int, strokes: int, radius: int, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Return at most ``budget`` pixels of the mask, in strokes."""
    painted = np.zeros_like(mask)
    places = np.argwhere(mask)
    each = max(1, budget // strokes)
    left = budget
    for _ in range(8 * strokes):
        if left <= 0:
            break
        start = places[rng.integers(len(places))]
        left -= draw_stroke(mask, painted, start, min(each, left), radius, rng)
    return painted


def draw_stroke(
    mask: np.ndarray[Any, Any],
    painted: np.ndarray[Any, Any],
    start: np.ndarray[Any, Any],
    length: int,
    radius: int,
    rng: np.random.Generator,
) -> int:
    """Walk at random inside a mask and paint along the way.

    Parameters
    ----------
    mask : ndarray
        Where the stroke may go, (y, x).
    painted : ndarray
        What is painted already, (y, x); the stroke is added to it.
    start : ndarray
        Row and column of a pixel of the mask.
    length : int
        Most pixels that are newly painted.
    radius : int
        Of the brush, in pixels.
    rng : Generator
        Decides where it turns.

    Returns
    -------
    int
        The pixels that were newly painted.
    """
    position = start + 0.5
    angle = rng.uniform(0, 2 * np.pi)
    spent = 0
    height, width = mask.shape
    while True:
        y, x = int(position[0]), int(position[1])
        rows = slice(max(y - radius, 0), y + radius + 1)
        columns = slice(max(x - radius, 0), x + radius + 1)
        new = mask[rows, columns] & ~painted[rows, columns]
        rest = length - spent
        if new.sum() > rest:
            new[np.cumsum(new).reshape(new.shape) > rest] = False
        spent += int(new.sum())
        painted[rows, columns] |= new
        if spent >= length:
            return spent
        for _ in range(_TRIES):
            angle += rng.normal(0, _TURN)
            after = position + np.array((np.sin(angle), np.cos(angle)))
            y, x = int(np.floor(after[0])), int(np.floor(after[1]))
            if 0 <= y < height and 0 <= x < width and mask[y, x]:
                position = after
                break
            angle += rng.normal(0, 4 * _TURN)
        else:
            return spent
