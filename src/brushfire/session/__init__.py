"""What the interface and scripts talk to, and all they talk to: one open volume and its work."""

from brushfire.session.appraising import Appraisal
from brushfire.session.places import SURROUNDINGS
from brushfire.session.session import Session
from brushfire.session.shelf import Offer
from brushfire.session.states import JobState, LearningState, Notice, ScorePoint, TileUpdate

__all__ = [
    "SURROUNDINGS",
    "Appraisal",
    "JobState",
    "LearningState",
    "Notice",
    "Offer",
    "ScorePoint",
    "Session",
    "TileUpdate",
]
