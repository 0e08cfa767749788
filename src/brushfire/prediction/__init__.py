"""Plan tiles by priority, predict one tile (halo in, core out), keep tiles with their revision."""

from brushfire.prediction.plan import TilePlan
from brushfire.prediction.store import STALE, PredictionStore, Tile

__all__ = ["STALE", "PredictionStore", "Tile", "TilePlan"]
