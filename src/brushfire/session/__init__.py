"""What the interface and scripts talk to, and all they talk to: one open volume and its work."""

from brushfire.session.appraising import Appraisal
from brushfire.session.distilling import Student
from brushfire.session.judging import EdgeComparison, EdgeLine
from brushfire.session.places import SURROUNDINGS
from brushfire.session.session import Session
from brushfire.session.shelf import Offer
from brushfire.session.states import (
    JobState,
    LearningState,
    Notice,
    ProportionsState,
    ScorePoint,
    TileUpdate,
)

__all__ = [
    "SURROUNDINGS",
    "Appraisal",
    "EdgeComparison",
    "EdgeLine",
    "JobState",
    "LearningState",
    "Notice",
    "Offer",
    "ProportionsState",
    "ScorePoint",
    "Session",
    "Student",
    "TileUpdate",
]
