"""The loops of the compiled kernel over tiles of maps, the innermost as vectors: needs numba.

All that is compiled is in this file: numba compiles a function again when its file changed, and
looks at no other.

A sweep runs along rows of one map that lie ``step`` pixels apart, the distance of the rows that a
3x3 convolution joins: so each vector that is loaded serves up to three rows. A compiler does not
find that by itself, as it cannot know that the maps do not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from brushfire.networks.kernels.caching import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

VECTOR_BYTES = 64
"""Of a vector: AVX-512's; where vectors are shorter, the compiler takes several."""

Array = np.ndarray[Any, Any]

_INDEX = ir.IntType(64)
_FUSE = ("contract",)  # a product and a sum may become one operation


class _Vectors:
    """Emits loads, stores and arithmetic on vectors of one type of values."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Type) -> None:
        self._builder = builder
        self._bytes = 8 if isinstance(value, ir.DoubleType) else 4
        self.length = VECTOR_BYTES // self._bytes
        self.type = ir.VectorType(value, self.length)

    def load(self, data: ir.Value, index: ir.Value) -> ir.Value:
        loaded = self._builder.load(self._pointer(data, index))
        loaded.align = self._bytes
        return loaded

    def store(self, value: ir.Value, data: ir.Value, index: ir.Value) -> None:
        self._builder.store(value, self._pointer(data, index)).align = self._bytes

    def _pointer(self, data: ir.Value, index: ir.Value) -> ir.Value:
        return self._builder.bitcast(self._builder.gep(data, [index]), self.type.as_pointer())

    def spread(self, value: ir.Value) -> ir.Value:
        """Return a vector that holds one value everywhere."""
        one = self._builder.insert_element(self.zero(), value, ir.IntType(32)(0))
        return self._shuffle(one, [0] * self.length)

    def zero(self) -> ir.Value:
        return ir.Constant(self.type, None)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self._builder.fadd(self._builder.fmul(a, b, flags=_FUSE), c, flags=_FUSE)

    def total(self, value: ir.Value) -> ir.Value:
        """Return the sum of what a vector holds."""
        length = self.length
        while length > 1:
            length //= 2
            high = self._shuffle(value, range(length, 2 * length))
            low = self._shuffle(value, range(length))
            value = self._builder.fadd(low, high)
        return self._builder.extract_element(value, ir.IntType(32)(0))

    def _shuffle(self, value: ir.Value, order: Any) -> ir.Value:
        chosen = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order))
        return self._builder.shuffle_vector(value, value, chosen)


class _Rows:
    """Emits where ``rows`` rows and the rows around them begin, and their neighbours in x."""

    def __init__(
        self, builder: ir.IRBuilder, rows: int, step: ir.Value, dilation: ir.Value
    ) -> None:
        self._builder, self._rows, self._step = builder, rows, step
        self._shifts = (builder.neg(dilation), None, dilation)

    def begin(self, origin: ir.Value) -> list[ir.Value]:
        return [self._down(origin, row) for row in range(self._rows)]

    def around(self, origin: ir.Value) -> list[ir.Value]:
        return [self._down(origin, row) for row in range(-1, self._rows + 1)]

    def _down(self, origin: ir.Value, rows: int) -> ir.Value:
        return self._builder.add(origin, self._builder.mul(self._step, _INDEX(rows)))

    def taps(self, around: list[ir.Value], x: ir.Value) -> Any:
        """Yield each position once, with the rows and taps that it serves."""
        for place, begin in enumerate(around):
            middle = self._builder.add(begin, x)
            for column, shift in enumerate(self._shifts):
                position = middle if shift is None else self._builder.add(middle, shift)
                serves = [
                    (row, 3 * (place - row) + column)
                    for row in range(self._rows)
                    if 0 <= place - row < 3
                ]
                yield position, serves


@dataclass(frozen=True)
class _Call:
    """What an innermost loop was called with: two maps, nine values, and how to walk them."""

    builder: ir.IRBuilder
    vectors: _Vectors
    lines: _Rows
    own: ir.Value  # data, and where each row begins
    own_rows: list[ir.Value]
    other: ir.Value
    other_rows: list[ir.Value]
    columns: ir.Value
    values: list[ir.Value]  # pointers

    def walk(self) -> Any:
        """Return a context in which code runs for each vector of a row; gives its place in x."""
        span = (_INDEX(0), self.columns, _INDEX(self.vectors.length))
        return cgutils.for_range_slice(self.builder, *span, intp=_INDEX)


def _innermost(rows: int, emit: Callable[[_Call], None]) -> Any:
    """Return a function of compiled code that ``emit`` writes, on ``rows`` rows of two maps."""

    @intrinsic
    def loop(
        typing: Any, own: Any, o: Any, other: Any, s: Any, step: Any, dilation: Any, columns: Any,
        values: Any, v: Any,
    ) -> Any:  # fmt: skip
        n = types.intp
        signature = types.void(own, n, other, n, n, n, n, values, n)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            def data(index: int) -> ir.Value:
                kind = signature.args[index]
                return context.make_array(kind)(context, builder, args[index]).data

            lines = _Rows(builder, rows, args[4], args[5])
            places = [builder.add(args[8], _INDEX(tap)) for tap in range(9)]
            emit(
                _Call(
                    builder=builder,
                    vectors=_Vectors(builder, context.get_data_type(own.dtype)),
                    lines=lines,
                    own=data(0),
                    own_rows=lines.begin(args[1]),
                    other=data(2),
                    other_rows=lines.around(args[3]),
                    columns=args[6],
                    values=[builder.gep(data(7), [place]) for place in places],
                )
            )
            return context.get_dummy_value()

        return signature, generate

    return loop


def _add_rows(call: _Call) -> None:
    """Write the loop that adds a 3x3 convolution of the other map, with nine weights."""
    builder, vectors = call.builder, call.vectors
    taps = [vectors.spread(builder.load(pointer)) for pointer in call.values]
    with call.walk() as (x, _):
        places = [builder.add(begin, x) for begin in call.own_rows]
        sums = [vectors.load(call.own, place) for place in places]
        for position, serves in call.lines.taps(call.other_rows, x):
            value = vectors.load(call.other, position)
            for row, tap in serves:
                sums[row] = vectors.multiply_add(taps[tap], value, sums[row])
        for place, value in zip(places, sums, strict=True):
            vectors.store(value, call.own, place)


def _add_products_of_rows(call: _Call) -> None:
    """Write the loop that adds sums of products with nine shifts of the other map to float64."""
    builder, vectors = call.builder, call.vectors
    sums = [cgutils.alloca_once_value(builder, vectors.zero()) for _ in call.values]
    with call.walk() as (x, _):
        down = [vectors.load(call.own, builder.add(begin, x)) for begin in call.own_rows]
        values = [builder.load(place) for place in sums]
        for position, serves in call.lines.taps(call.other_rows, x):
            value = vectors.load(call.other, position)
            for row, tap in serves:
                values[tap] = vectors.multiply_add(down[row], value, values[tap])
        for place, value in zip(sums, values, strict=True):
            builder.store(value, place)
    for place, pointer in zip(sums, call.values, strict=True):
        total = vectors.total(builder.load(place))
        if not isinstance(total.type, ir.DoubleType):
            total = builder.fpext(total, ir.DoubleType())
        builder.store(builder.fadd(builder.load(pointer), total), pointer)


def _sweep(emit: Callable[[_Call], None]) -> Any:
    """Return a function that runs a loop over all rows of a tile, as many rows at once as it can.

    ``(target, t, source, s, row, height, columns, dilation, values, v)``: two flat buffers and
    where the tile begins in them; pixels from row to row; rows and columns of the tile, columns
    in whole vectors; the dilation; nine values and where they begin.
    """
    one, two, three, four = (_innermost(rows, emit) for rows in (1, 2, 3, 4))

    @njit(nogil=True)
    def sweep(
        target: Any, t: Any, source: Any, s: Any, row: Any, height: Any, columns: Any,
        dilation: Any, values: Any, v: Any,
    ) -> None:  # fmt: skip
        step = dilation * row
        for first in range(min(dilation, height)):
            y = first
            while y < height:
                left = (height - 1 - y) // dilation + 1
                a, b = t + y * row, s + y * row
                if left >= 4:
                    four(target, a, source, b, step, dilation, columns, values, v)
                elif left == 3:
                    three(target, a, source, b, step, dilation, columns, values, v)
                elif left == 2:
                    two(target, a, source, b, step, dilation, columns, values, v)
                else:
                    one(target, a, source, b, step, dilation, columns, values, v)
                y += 4 * dilation

    return sweep


# Adds a 3x3 convolution of a tile, with nine weights.
_add_convolution = _sweep(_add_rows)
# Adds the sums of products of two tiles, one of them shifted nine ways, to nine float64.
_add_products = _sweep(_add_products_of_rows)


@compiled
def add_maps(
    flat: Array, total: int, row: int, tiles: Array, source: Array, taps: Array, first_source: int,
    first_target: int, s0: int, s1: int, t0: int, t1: int, dilations: Array, shifts: Array,
    by_source: bool,
) -> None:  # fmt: skip
    """Add the convolutions of maps s0:s1 of ``source`` to maps t0:t1.

    ``taps`` are (sources, targets, 9 for each of the ``shifts`` to neighbouring planes), from two
    first maps on; ``dilations`` are those of all maps, of which a convolution has its source's or
    its target's.
    """
    values = taps.reshape(-1)
    targets, planes = taps.shape[1], len(shifts)
    for tile in range(len(tiles)):
        origin, height, _, columns = tiles[tile]
        for s in range(s0, s1):
            for t in range(t0, t1):
                dilation = dilations[s] if by_source else dilations[t]
                place = ((s - first_source) * targets + t - first_target) * planes
                for plane in range(planes):
                    at = s * total + origin + shifts[plane] * dilation
                    _add_convolution(
                        flat, t * total + origin, source, at, row, height, columns, dilation,
                        values, 9 * (place + plane),
                    )  # fmt: skip


@compiled
def make_maps(
    flat: Array, total: int, row: int, tiles: Array, source: Array, taps: Array, first_source: int,
    first_target: int, s0: int, s1: int, t0: int, t1: int, dilations: Array, shifts: Array,
    by_source: bool, biases: Array, done: int,
) -> None:  # fmt: skip
    """Add maps to maps as `add_maps` does, with what comes before and after in the same pass.

    Maps begin as their biases, if there are any; ``done`` of them, from the first on, are complete
    with that, and rectified.
    """
    for tile in range(len(tiles)):
        one = tiles[tile : tile + 1]
        origin, height, width, columns = tiles[tile]
        for n in range(len(biases)):
            for y in range(height):
                at = (t0 + n) * total + origin + y * row
                flat[at : at + columns] = biases[n]
        add_maps(
            flat, total, row, one, source, taps, first_source, first_target, s0, s1, t0, t1,
            dilations, shifts, by_source,
        )  # fmt: skip
        for n in range(t0, t0 + done):
            for y in range(height):
                at = n * total + origin + y * row
                values = flat[at : at + width]
                for x in range(width):
                    values[x] = max(values[x], 0)
                flat[at + width : at + columns] = 0  # computed beyond the right edge


@compiled
def stop_slopes(
    flat: Array, total: int, row: int, tiles: Array, maps: Array, first: int, last: int
) -> None:
    """Clear the slopes where ReLU was zero, and margins of zeros with them."""
    for tile in range(len(tiles)):
        origin, height, _, columns = tiles[tile]
        for n in range(first, last):
            for y in range(height):
                at = n * total + origin + y * row
                slopes, values = flat[at : at + columns], maps[at : at + columns]
                for x in range(columns):
                    slopes[x] = slopes[x] if values[x] > 0 else 0


@compiled
def make_slopes(
    flat: Array, total: int, row: int, tiles: Array, source: Array, taps: Array, first_source: int,
    first_target: int, s0: int, s1: int, t0: int, t1: int, dilations: Array, shifts: Array,
    by_source: bool, maps: Array, done: int,
) -> None:  # fmt: skip
    """Add slopes to slopes as `add_maps` does, and stop the last ``done`` targets at their ReLU."""
    for tile in range(len(tiles)):
        one = tiles[tile : tile + 1]
        add_maps(
            flat, total, row, one, source, taps, first_source, first_target, s0, s1, t0, t1,
            dilations, shifts, by_source,
        )  # fmt: skip
        stop_slopes(flat, total, row, one, maps, t1 - done, t1)


@compiled
def collect(
    flat: Array, total: int, row: int, tiles: Array, maps: Array, first: int, dilations: Array,
    fans: Array, shifts: Array, totals: Array,
) -> None:  # fmt: skip
    """Add the gradients of the weights of maps from ``first`` on, laid out as ``taps`` are.

    ``fans`` says of how many maps each map is made.
    """
    values = totals.reshape(-1)
    sources, targets, planes = len(totals), totals.shape[1], len(shifts)
    for tile in range(len(tiles)):
        origin, height, _, columns = tiles[tile]
        for s in range(sources):
            for t in range(targets):
                if s < fans[first + t]:
                    dilation = dilations[first + t]
                    for plane in range(planes):
                        at = s * total + origin + shifts[plane] * dilation
                        _add_products(
                            flat, (first + t) * total + origin, maps, at, row, height, columns,
                            dilation, values, 9 * ((s * targets + t) * planes + plane),
                        )  # fmt: skip
