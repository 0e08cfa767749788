"""Colours and the style sheet of the dock, taken from napari's theme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.utils.theme import get_system_theme, get_theme
from qtpy.QtGui import QColor

if TYPE_CHECKING:
    from napari.viewer import Viewer


@dataclass(frozen=True)
class Palette:
    """The few colours that the dock uses, as "#rrggbb"."""

    text: str
    muted: str
    background: str
    surface: str
    line: str
    accent: str
    accent_hover: str
    accent_text: str
    on_accent: str
    warning: str
    error: str


def palette_of(viewer: Viewer) -> Palette:
    """Return the colours that fit the theme of ``viewer`` now."""
    name = viewer.theme if viewer.theme != "system" else get_system_theme()
    theme = get_theme(name)
    text, background = _hex(theme.text), _hex(theme.background)
    dark = QColor(background).lightnessF() < 0.5
    accent = QColor(_hex(theme.current)) if dark else QColor("#3353c4")
    return Palette(
        text=text,
        muted=_mix(text, background, 0.68 if dark else 0.72),
        background=background,
        surface=_mix(_hex(theme.foreground), background, 0.6),
        line=_hex(theme.primary),
        accent=accent.name(),
        accent_hover=accent.lighter(115).name(),
        accent_text=accent.lighter(155 if dark else 100).name(),
        on_accent="#ffffff",
        warning="#e3b617" if dark else "#8a6a00",
        error="#ff7b85" if dark else "#b3101c",
    )


def _hex(color: object) -> str:
    red, green, blue = color.as_rgb_tuple()[:3]  # type: ignore[attr-defined]
    return f"#{red:02x}{green:02x}{blue:02x}"


def _mix(front: str, back: str, share: float) -> str:
    a, b = QColor(front), QColor(back)
    parts = zip(a.getRgb()[:3], b.getRgb()[:3], strict=True)
    return "#{:02x}{:02x}{:02x}".format(*(round(share * f + (1 - share) * g) for f, g in parts))


def style_sheet(p: Palette) -> str:
    """Return the style sheet of the dock; widgets choose a rule by their ``role`` property."""
    return f"""
    QLabel[role] {{ padding: 0px; margin: 0px; }}
    QLabel[role="muted"] {{ color: {p.muted}; }}
    QLabel[role="title"] {{ font-weight: 600; }}
    QLabel[role="value"] {{ color: {p.text}; }}
    QLabel[role="score"] {{ color: {p.text}; font-size: 24px; font-weight: 600; }}
    QLabel[role="accent"] {{ color: {p.accent_text}; font-weight: 600; }}
    QLabel[role="warning"] {{ color: {p.warning}; }}
    QLabel[role="error"] {{ color: {p.error}; }}
    QFrame[role="step"] {{ background: {p.surface}; border-radius: 4px; }}
    QFrame[role="step"] QLabel, QFrame[role="step"] QWidget[role="plain"] {{
        background: transparent; }}
    QFrame[role="head"] {{ background: transparent; border: none; }}
    QFrame[role="head"]:focus {{ border: 1px solid {p.accent}; border-radius: 4px; }}
    QFrame[role="notice"] {{
        background: {p.surface}; border-left: 3px solid {p.accent}; border-radius: 2px; }}
    QFrame[role="notice"][level="warning"] {{ border-left-color: {p.warning}; }}
    QFrame[role="notice"][level="error"] {{ border-left-color: {p.error}; }}
    QFrame[role="notice"] QLabel {{ background: transparent; }}
    QPushButton {{ padding: 5px 10px; border-radius: 3px; }}
    QPushButton[role="primary"] {{
        background: {p.accent}; color: {p.on_accent}; font-weight: 600; padding: 7px 12px; }}
    QPushButton[role="primary"]:hover {{ background: {p.accent_hover}; }}
    QPushButton[role="primary"]:disabled {{
        background: {p.line}; color: {p.muted}; border: none; }}
    QPushButton[role="link"] {{
        background: transparent; color: {p.muted}; padding: 3px 4px; text-decoration: underline; }}
    QPushButton[role="link"]:hover {{ color: {p.text}; }}
    QPushButton[role="choice"] {{
        background: transparent; color: {p.muted}; border: none; padding: 2px 6px; }}
    QPushButton[role="choice"]:hover {{ color: {p.text}; }}
    QPushButton[role="choice"]:checked {{
        background: {p.line}; color: {p.text}; border-radius: 3px; }}
    QPushButton[role="start"] {{
        background: {p.background}; border: 1px solid {p.line}; border-radius: 3px; }}
    QPushButton[role="start"]:hover, QPushButton[role="start"]:focus {{
        border-color: {p.accent}; }}
    QPushButton[role="start"]:disabled {{ background: transparent; }}
    QPushButton[role="start"] QLabel:disabled {{ color: {p.muted}; }}
    QToolButton[role="fold"] {{ background: transparent; border: none; color: {p.muted}; }}
    QToolButton[role="fold"]:hover {{ color: {p.text}; }}
    QTableWidget {{
        background: {p.background}; border: 1px solid {p.line}; border-radius: 3px;
        gridline-color: transparent; selection-background-color: {p.line};
        selection-color: {p.text}; }}
    QTableWidget::item {{ padding: 2px 4px; }}
    QHeaderView::section {{
        background: {p.background}; color: {p.muted}; border: none; padding: 2px 4px; }}
    QProgressBar {{
        background: {p.background}; border: 1px solid {p.line}; border-radius: 3px;
        text-align: center; min-height: 16px; max-height: 16px; }}
    QProgressBar::chunk {{ background: {p.accent}; border-radius: 2px; }}
    """
