"""Curves with their spread as an SVG picture, for the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 28, 40
COLOURS = {"ours": "#0072b2", "forest": "#d55e00", "unet": "#009e73", "msd": "#cc79a7"}


@dataclass(frozen=True)
class Curve:
    """Values by position, each position with one value of each seed."""

    name: str
    values: Mapping[float, Sequence[float]]


def draw(path: Path, title: str, curves: Sequence[Curve], *, x: str, y: str) -> None:
    """Write a picture: the mean of each curve as a line, its lowest to its highest as a band."""
    places = sorted({place for curve in curves for place in curve.values})
    everything = [v for curve in curves for values in curve.values.values() for v in values]
    low, high = np.floor(20 * min(everything)) / 20, np.ceil(20 * max(everything)) / 20

    def at(place: float, value: float) -> str:
        across = (place - places[0]) / max(places[-1] - places[0], 1e-9)
        up = (value - low) / max(high - low, 1e-9)
        return (
            f"{LEFT + across * (WIDTH - LEFT - RIGHT):.1f},"
            f"{HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM):.1f}"
        )

    parts = [*_frame(title, x, y), *_grid(at, places, np.arange(low, high + 0.01, 0.05))]
    for row, curve in enumerate(curves):
        colour = COLOURS.get(curve.name, "#555555")
        own = sorted(curve.values)
        band = [at(p, max(curve.values[p])) for p in own]
        band += [at(p, min(curve.values[p])) for p in reversed(own)]
        line = " ".join(at(p, float(np.mean(curve.values[p]))) for p in own)
        parts.append(f'<polygon points="{" ".join(band)}" fill="{colour}" opacity="0.15"/>')
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT - 6}" y="{HEIGHT - BOTTOM - 8 - 14 * row}" fill="{colour}" '
            f'text-anchor="end">{curve.name}</text>'
        )
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _frame(title: str, x: str, y: str) -> list[str]:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{title}</text>',
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{x}</text>',
        f'<text transform="translate(14,{middle}) rotate(-90)" text-anchor="middle">{y}</text>',
    ]


def _grid(at, places: Sequence[float], levels: Sequence[float]) -> list[str]:
    parts = []
    for level in levels:
        (x1, y), (x2, _) = (at(place, level).split(",") for place in (places[0], places[-1]))
        parts.append(f'<path d="M{x1} {y}H{x2}" stroke="#dddddd"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{float(y) + 4}" text-anchor="end">{level:.2f}</text>'
        )
    for place in places:
        x, _ = at(place, levels[0]).split(",")
        parts.append(
            f'<text x="{x}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{place:g}</text>'
        )
    return parts
