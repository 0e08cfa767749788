"""Convolutions over slabs, in the order of axes in which processors compute them fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

_FAST = 20480
"""Torch gives an image to oneDNN if its channels, slices and rows are more than this together.

Others it computes several times slower, and with all inputs that outputs see laid side by side
(`use_mkldnn` in its `Convolution.cpp`).
"""


class SlabConv3d(nn.Conv3d):
    """`Conv3d` that counts slices last where torch looks at the first axes alone."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what `Conv3d` does."""
        if not self._slow(x):
            return super().forward(x)
        assert not isinstance(self.padding, str)
        x, weight = (one.permute(0, 1, 3, 4, 2).contiguous() for one in (x, self.weight))
        stride, padding, dilation = map(_turned, (self.stride, self.padding, self.dilation))
        found = functional.conv3d(x, weight, self.bias, stride, padding, dilation, self.groups)
        return found.permute(0, 1, 4, 2, 3).contiguous()

    def _slow(self, x: Tensor) -> bool:
        plain = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        if not plain or len(x) > 1 or x.device.type not in ("cpu", "meta"):
            return False
        channels, slices, rows, columns = x.shape[1:]
        slow = channels * slices * rows <= _FAST < channels * rows * columns
        return slow and max(self.kernel_size) > 1


def _turned(of_axes: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = of_axes
    return y, x, z


def prepare_for_slabs(net: nn.Module) -> None:
    """Let all convolutions in three dimensions be `SlabConv3d`; weights and names stay."""
    for module in net.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = SlabConv3d
