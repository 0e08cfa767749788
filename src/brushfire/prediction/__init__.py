"""Plan tiles by priority, predict one tile (halo in, core out), keep tiles with their revision."""

from brushfire.prediction.plan import TilePlan
from brushfire.prediction.store import STALE, PredictionStore, RestoredStore, RestoredTile, Tile
from brushfire.prediction.tiles import StoreView

__all__ = [
    "STALE",
    "PredictionStore",
    "RestoredStore",
    "RestoredTile",
    "StoreView",
    "Tile",
    "TilePlan",
]
