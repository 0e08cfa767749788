"""Make the weights that models start with: learn on made-up pictures what shapes classes have.

A user is played on each made-up picture: a few strokes, a fit on their features, as the
program does it. The layers then learn to correct what the fit makes of another picture of the same
kind, and of the rest of this one. Nothing but code goes in. An hour on two cores::

    python tools/pretraining/pretrain.py --out src/brushfire/networks/shapes.safetensors
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip
from safetensors.torch import save_file
from scenes import UNKNOWN, draw_episode
from torch.nn import functional

from brushfire.learning.convex import class_weights
from brushfire.learning.fitting import COUNT_POWER, fit_pixels
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.refining import class_inputs, guide_of, margins

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

SIDE = 160
SMALL = 0.2  # share of pictures that are smaller
WAITING = 24  # examples that wait for the learner
LOOKED_AT = 60  # examples from which is seen how inputs are spread
RATE = 2e-3
WARM_UP = 50  # steps
AVERAGE = 0.998
CLIP = 1.0

Example = tuple[np.ndarray, np.ndarray, np.ndarray]  # features, fitted logits, classes


def make_examples(queue: Queue[Example], seed: int) -> None:
    """Play users for ever, and put what their fits make of pictures into the queue."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    while True:
        side = SIDE if rng.random() >= SMALL else int(rng.integers(40, 120))
        episode = draw_episode(rng, side)
        classes = np.unique(episode.strokes[episode.strokes > 0])
        model = SegmentationModel(NetworkSettings(), 1, [int(value) for value in classes])
        with torch.no_grad():
            pictures = torch.from_numpy(np.stack([episode.painted, episode.other]))[:, None]
            raw = model.raw_inputs(pictures)
            labelled = torch.from_numpy(episode.strokes > 0)
            fit_pixels(model, raw[0][:, labelled].t(), episode.strokes[labelled.numpy()])
            assert model.pixels is not None
            fitted = model.pixels(raw)
        rest = np.where(episode.strokes > 0, UNKNOWN, episode.painted_truth)
        queue.put((raw[1].numpy(), fitted[1].numpy(), episode.other_truth))
        if rng.random() < 0.5:  # the slice that was painted is one of many
            queue.put((raw[0].numpy(), fitted[0].numpy(), rest))


def look_at_inputs(model: SegmentationModel, queue: Queue[Example]) -> None:
    """Freeze how the inputs of the layers are standardised."""
    assert model.bank is not None
    means, squares = [], []
    for _ in range(LOOKED_AT):
        features, fitted, _ = queue.get()
        guide = guide_of(torch.from_numpy(features)[None], 1, model.bank.per_channel)
        inputs = class_inputs(margins(torch.from_numpy(fitted)[None]), guide)
        means.append(inputs.mean((0, 2, 3)))
        squares.append(inputs.square().mean((0, 2, 3)))
    model.input_mean.copy_(torch.stack(means).mean(0))
    spread = torch.stack(squares).mean(0) - model.input_mean.square()
    model.input_std.copy_(spread.clamp(min=1e-8).sqrt())


def loss_of(model: SegmentationModel, example: Example) -> tuple[torch.Tensor, float, float]:
    """Return the loss, and the mean IoU with the correction and without it."""
    features, fitted, truth = (torch.from_numpy(part) for part in example)
    known = truth != UNKNOWN
    target = truth[known].long()
    before = fitted[:, known].t()
    after = before + model.correction(features[None], fitted[None])[0][:, known].t()
    weights = class_weights(torch.bincount(target, minlength=len(fitted)), COUNT_POWER)
    loss = functional.cross_entropy(after, target, weights.to(after))
    return loss, mean_iou(after, target), mean_iou(before, target)


def mean_iou(logits: torch.Tensor, target: torch.Tensor) -> float:
    found, scores = logits.argmax(1), []
    for value in target.unique():
        here, there = found == value, target == value
        scores.append(float((here & there).sum() / (here | there).sum()))
    return float(np.mean(scores))


def save(model: SegmentationModel, path: Path) -> None:
    tensors = {name: value.detach().clone() for name, value in model.named_parameters()}
    tensors |= {"input_mean": model.input_mean, "input_std": model.input_std}
    tensors["dilations"] = torch.tensor(model.layers.dilations)
    save_file(tensors, path)


def train(minutes: float, out: Path, seed: int, workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    queue: Queue[Example] = context.Queue(WAITING)
    for worker in range(workers):
        context.Process(target=make_examples, args=(queue, seed + worker), daemon=True).start()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = SegmentationModel(NetworkSettings(), 1, (1, 2))
    look_at_inputs(model, queue)
    average = SegmentationModel(NetworkSettings(), 1, (1, 2))
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    began, step, log = time.monotonic(), 0, []
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        rate = RATE * min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
        optimiser.param_groups[0]["lr"] = rate
        loss, after, before = loss_of(model, queue.get())
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        if math.isfinite(norm):
            optimiser.step()
        step += 1
        kept = min(AVERAGE, step / (step + 20))
        with torch.no_grad():
            for mean, new in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(new, 1 - kept)
        log.append((float(loss.detach()), after, before))
        if step % 200 == 0:
            seen = np.mean(log[-200:], 0)
            print(
                f"{step} steps, {60 * minutes * done:.0f} s: loss {seen[0]:.3f}, "
                f"mean IoU {seen[1]:.3f}, of the fit alone {seen[2]:.3f}",
                flush=True,
            )
            save(average, out)
    save(average, out)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--workers", type=int, default=1, help="processes that make pictures")
    args = options.parse_args()
    train(args.minutes, args.out, args.seed, args.workers)


if __name__ == "__main__":
    main()
