"""Do suggested places save strokes? A simulated user paints at them, or at random places.

After a few strokes of each class the user goes to one place at a time, looks at a square there and
paints a stroke in the largest wrong region of it, or in the class of its middle where nothing is
wrong. Mean Dice on slices that nobody paints, against strokes. The model is the quick fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from arena import NAMES, Case, load_case, scores
from brushfire.geometry import Box
from brushfire.learning.places import PlaceSearch
from quick_player import QuickPlayer
from reporting import needed_data_folder, note, parser, report

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

EVERY = 2  # strokes between scores


class Player(QuickPlayer):
    """Paints where told."""

    def __init__(self, case: Case, seed: int) -> None:
        super().__init__(case, seed)
        self._rng = np.random.default_rng(seed)
        self.side = 32

    def suggested(self) -> Box:
        """Return the best place that is on no slice that counts; a random one where none is."""
        models = [one for one in self.models if one.classes == self.models[0].classes]
        search = PlaceSearch(
            self.case.volume, models, self.store.snapshot(), seed=self.user.strokes
        )
        while not search.step():
            pass
        places = [place for place in search.places() if place.z not in self.case.scored]
        if not places:
            return self.random()
        self.side = places[0].side
        return places[0].box.clip(self.case.volume.shape)

    def random(self) -> Box:
        depth, *plane = self.case.volume.shape
        free = sorted(set(range(depth)) - set(self.case.scored))
        z = int(self._rng.choice(free))
        y, x = (int(self._rng.integers(max(1, size - self.side))) for size in plane)
        return Box((z, y, x), (z + 1, y + self.side, x + self.side)).clip(self.case.volume.shape)


def play(case: Case, seed: int, how: str, strokes: int) -> list[float]:
    """Return mean Dice before any place and after every few of them."""
    player = Player(case, seed)
    player.learn()
    curve = [scores(case, player.predict)["dice"]]
    for count in range(1, strokes + 1):
        place = player.suggested() if how == "suggested" else player.random()
        player.user.paint_in(place, player.predict(place.start[0]))
        player.learn()
        if count % EVERY == 0:
            curve.append(scores(case, player.predict)["dice"])
    return curve


def saved(suggested: Sequence[float], random: Sequence[float]) -> float | None:
    """Return strokes at suggested places over those at random ones, to the same Dice.

    That is the best that both reach. None where neither gains anything.
    """
    enough = min(max(suggested), max(random))
    mine, theirs = (int(np.argmax(np.asarray(one) >= enough)) for one in (suggested, random))
    return mine / theirs if theirs else None


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--volumes", nargs="+", default=list(NAMES), choices=NAMES)
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options.add_argument("--strokes", type=int, default=16)
    options.add_argument("--tuning", action="store_true", help="on what settings are chosen on")
    args: Namespace = options.parse_args()
    if args.quick:
        args.volumes, args.seeds, args.strokes = ["msd_hippocampus"], [0], EVERY
    data = needed_data_folder()
    torch.set_num_threads(1)
    result: dict[str, float] = {}
    for volume in args.volumes:
        curves: dict[str, np.ndarray] = {}
        for how in ("suggested", "random"):
            runs = []
            for seed in args.seeds:
                case = load_case(data, volume, seed, tuning=args.tuning)
                runs.append(play(case, seed, how, args.strokes))
            curves[how] = np.mean(runs, 0)
            line = " ".join(f"{value:.3f}" for value in curves[how])
            note(args, f"{volume:20} {how:9} Dice after 0, {EVERY}, ... strokes: {line}")
        share = saved(curves["suggested"], curves["random"])
        if share is not None:
            result[f"{volume}_share"] = share
        result[f"{volume}_dice_gain"] = float(curves["suggested"][-1] - curves["random"][-1])
    shares = [value for key, value in result.items() if key.endswith("_share")]
    if shares:
        result["share_of_strokes"] = float(np.mean(shares))
    report("suggested_places", result, {"share_of_strokes": "<= 0.7"})


if __name__ == "__main__":
    main()
