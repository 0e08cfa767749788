"""The optimiser is AdamW, and learning never loads torch's compiler."""

from __future__ import annotations

import subprocess
import sys

import torch

from brushfire.learning.adamw import AdamW

LOADED = """
import sys
from brushfire.learning.adamw import AdamW
from brushfire.learning.warming import warm_up
import torch
warm_up()
weight = torch.ones(3, requires_grad=True)
weight.sum().backward()
AdamW([weight], weight_decay=0.1).step(0.1)
print("torch._dynamo" in sys.modules)
"""


def test_it_moves_as_the_adamw_of_torch_does() -> None:
    start = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    mine, theirs = (start.clone().requires_grad_(True) for _ in range(2))
    ours = AdamW([mine], weight_decay=0.02)
    reference = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.02)
    for step in range(30):
        for weight in (mine, theirs):
            weight.grad = None
            ((weight - step % 3).square() * torch.arange(1, 5)).sum().backward()
        ours.step(0.01)
        reference.step()
    assert torch.allclose(mine, theirs, rtol=0, atol=1e-7)
    ours.forget_gradients()
    assert mine.grad is None


def test_learning_does_not_load_the_compiler_of_torch() -> None:
    # Two seconds, with the window standing still for a part of them.
    ran = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.strip() == "False"
