"""The loops of the fused kernel, over tiles of pixels on a graphics card: needs triton.

All that is compiled is in this file. Pixels are counted along the flat buffer, so that a tap of a
convolution is one shift, whatever the number of axes. Sums are kept in ``SUM``, and the tensor
cores are handed values of ``OPERAND``.

A function is compiled again for numbers that are 1 or divisible by 16, and for addresses that are,
unless it is told not to: it is not where this changes from block to block.

Only what is built into the language is used, none of its functions that are themselves compiled:
those cannot be interpreted in a process that loaded triton to compile.
"""

# Triton reads the annotations of its functions when it compiles them, so that they stay values.
import triton
from triton import language as tl
from triton.language import constexpr

INTERPRETED: bool = triton.knobs.runtime.interpret
"""Whether the loops run in Triton's interpreter, which cannot multiply matrices of bfloat16."""


@triton.jit(
    do_not_specialize=["known", "rows", "chunks"],
    do_not_specialize_on_alignment=["dilations"],
)
def multiply(
    maps: tl.tensor,
    taps: tl.tensor,
    dilations: tl.tensor,
    product: tl.tensor,
    total: int,
    begin: int,
    known: int,
    padded: int,
    pitch: int,
    columns: int,
    rows: int,
    chunks: int,
    ROWS: constexpr,
    DEPTH: constexpr,
    PIXELS: constexpr,
    OVERLAP: constexpr,
    SUM: constexpr,
    OPERAND: constexpr,
    PRECISION: constexpr,
) -> None:
    """Write the products of taps and known maps, the three taps along x of a row summed.

    ``taps`` are (3, chunks * ROWS, padded), ``dilations`` those of their rows. ``product`` is
    (rows, pitch); its first column belongs to pixel ``begin`` of the buffer.
    """
    chunk = tl.program_id(0) % chunks
    tile = tl.program_id(0) // chunks
    row = chunk * ROWS + tl.arange(0, ROWS)
    place = tl.arange(0, PIXELS)
    # Neighbouring tiles overlap by what a shift along x may need of either.
    column = tile * (PIXELS - 2 * OVERLAP) + place - OVERLAP
    pixel = begin + column
    there = (pixel >= 0) & (pixel < total)
    left = tl.full([ROWS, PIXELS], 0, SUM)
    middle = tl.full([ROWS, PIXELS], 0, SUM)
    right = tl.full([ROWS, PIXELS], 0, SUM)
    plane = chunks * ROWS * padded
    for first in range(0, known, DEPTH):
        n = first + tl.arange(0, DEPTH)
        source = maps + n.to(tl.int64)[:, None] * total + pixel[None, :]
        values = tl.load(source, mask=(n < known)[:, None] & there[None, :], other=0).to(OPERAND)
        tap = taps + row[:, None] * padded + n[None, :]
        one = tl.load(tap).to(OPERAND)
        left = tl.dot(one, values, left, input_precision=PRECISION, out_dtype=SUM)
        one = tl.load(tap + plane).to(OPERAND)
        middle = tl.dot(one, values, middle, input_precision=PRECISION, out_dtype=SUM)
        one = tl.load(tap + 2 * plane).to(OPERAND)
        right = tl.dot(one, values, right, input_precision=PRECISION, out_dtype=SUM)
    # As one line of values: then the compiler shifts through shared memory, not from lane to lane.
    line = tl.arange(0, ROWS * PIXELS)
    row = chunk * ROWS + line // PIXELS
    place = line % PIXELS
    dilation = tl.load(dilations + row)
    sums = tl.reshape(middle, [ROWS * PIXELS])
    sums += tl.gather(
        tl.reshape(left, [ROWS * PIXELS]), tl.where(place >= dilation, line - dilation, line), 0
    )
    ahead = tl.where(place + dilation < PIXELS, line + dilation, line)
    sums += tl.gather(tl.reshape(right, [ROWS * PIXELS]), ahead, 0)
    column = tile * (PIXELS - 2 * OVERLAP) + place - OVERLAP
    whole = (place >= OVERLAP) & (place < PIXELS - OVERLAP) & (column < columns) & (row < rows)
    target = product + row.to(tl.int64) * pitch + column
    tl.store(target, sums.to(product.dtype.element_ty), mask=whole)


@triton.jit(
    do_not_specialize=["targets", "done"],
    do_not_specialize_on_alignment=["biases", "dilations"],
)
def fold(
    product: tl.tensor,
    maps: tl.tensor,
    inside: tl.tensor,
    biases: tl.tensor,
    dilations: tl.tensor,
    total: int,
    begin: int,
    first: int,
    count: int,
    pitch: int,
    lead: int,
    targets: int,
    done: int,
    line: int,
    plane: int,
    TAPS: constexpr,
    PIXELS: constexpr,
    SUM: constexpr,
) -> None:
    """Write bias and shifted products into the maps of a block, from ``maps`` on.

    ``product`` is (targets * TAPS, pitch); column ``lead`` belongs to pixel ``first`` of the span.
    The first ``done`` maps are complete with that, and rectified.
    """
    target = tl.program_id(0) % targets
    column = tl.program_id(0) // targets * PIXELS + tl.arange(0, PIXELS)
    there = column < count
    dilation = tl.load(dilations + target)
    sums = tl.full([PIXELS], 0, SUM) + tl.load(biases + target).to(SUM)
    source = product + (target * TAPS).to(tl.int64) * pitch + lead
    for tap in tl.static_range(TAPS):
        by = (tap % 3 - 1) * line + (tap // 3 - 1) * plane  # no axis z, no distance of planes
        values = tl.load(source + column + dilation * by, mask=there, other=0)
        sums += values.to(SUM)
        source += pitch
    if target < done:
        clear = tl.load(inside + begin + first + column, mask=there, other=0) == 0
        sums = tl.where(clear | (sums <= 0), 0, sums)  # and what is no number stays none
    goal = maps + target.to(tl.int64) * total + begin + first + column
    tl.store(goal, sums.to(maps.dtype.element_ty), mask=there)


# What is told nothing of how maps are aligned loads single values: shifts are odd numbers of
# pixels, and lanes that each took four values of a row would share no line of the cache.
@triton.jit(
    do_not_specialize=["begin", "total", "count", "first", "last", "row", "channels", "fan"]
)
def add_near(
    flat: tl.tensor,
    taps: tl.tensor,
    dilations: tl.tensor,
    gate: tl.tensor,
    total: int,
    begin: int,
    count: int,
    first: int,
    last: int,
    row: int,
    width: int,
    channels: int,
    fan: int,
    line: int,
    plane: int,
    TAPS: constexpr,
    WIDTH: constexpr,
    PIXELS: constexpr,
    SUM: constexpr,
    BACK: constexpr,
    GATED: constexpr,
) -> None:
    """Add the convolutions of maps first:last to the ``width`` maps from ``row`` on.

    ``taps`` are (made maps, fan, TAPS). Forward, ReLU goes with it, and ``gate`` is 1 where there
    is a pixel. With ``BACK`` the maps are slopes, taps and shifts are taken the other way round,
    and the gate, if ``GATED``, is the maps below the slopes.
    """
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    there = pixel < count
    n = tl.arange(0, WIDTH)
    place = (row + n).to(tl.int64)[:, None] * total + begin + pixel[None, :]
    mine = (n < width)[:, None] & there[None, :]
    sums = tl.load(flat + place, mask=mine, other=0).to(SUM)
    dilation = tl.load(dilations + row)
    for source in range(first, last):
        if BACK:
            dilation = -tl.load(dilations + source)
            tap = ((source - channels) * fan + row + n) * TAPS
        else:
            tap = ((row - channels + n) * fan + source) * TAPS
        values = flat + tl.cast(source, tl.int64) * total + begin + pixel
        for t in tl.static_range(TAPS):
            by = (t % 3 - 1) + (t // 3 % 3 - 1) * line + (t // 9 - 1) * plane
            value = tl.load(values + dilation * by, mask=there, other=0).to(SUM)
            one = tl.load(taps + tap + t, mask=n < width, other=0).to(SUM)
            sums += one[:, None] * value[None, :]
    if GATED and BACK:
        sums = tl.where(tl.load(gate + place, mask=mine, other=0) > 0, sums, 0)
    elif GATED:
        clear = tl.load(gate + begin + pixel, mask=there, other=0) == 0
        sums = tl.where(clear[None, :] | (sums <= 0), 0, sums)
    tl.store(flat + place, sums.to(flat.dtype.element_ty), mask=mine)


@triton.jit(
    do_not_specialize=["first", "targets", "rows", "chunks"],
    do_not_specialize_on_alignment=["sources", "shifts"],
)
def spread(
    slopes: tl.tensor,
    taps: tl.tensor,
    sources: tl.tensor,
    shifts: tl.tensor,
    total: int,
    begin: int,
    count: int,
    first: int,
    targets: int,
    rows: int,
    padded: int,
    chunks: int,
    ROWS: constexpr,
    DEPTH: constexpr,
    PIXELS: constexpr,
    SUM: constexpr,
    OPERAND: constexpr,
    PRECISION: constexpr,
) -> None:
    """Add the products of taps and shifted slopes to the slopes of ``targets`` maps from ``first``.

    ``taps`` are (chunks * ROWS, padded); of each of their ``rows`` columns, ``sources`` says which
    map's slopes it meets, ``shifts`` by how many pixels those are shifted.
    """
    chunk = tl.program_id(0) % chunks
    n = chunk * ROWS + tl.arange(0, ROWS)
    pixel = tl.program_id(0) // chunks * PIXELS + tl.arange(0, PIXELS)
    there = pixel < count
    sums = tl.full([ROWS, PIXELS], 0, SUM)
    for start in range(0, padded, DEPTH):
        r = start + tl.arange(0, DEPTH)
        source = tl.load(sources + r).to(tl.int64) * total - tl.load(shifts + r) + begin
        mask = (r < rows)[:, None] & there[None, :]
        values = tl.load(slopes + source[:, None] + pixel[None, :], mask=mask, other=0).to(OPERAND)
        one = tl.load(taps + n[:, None] * padded + r[None, :]).to(OPERAND)
        sums = tl.dot(one, values, sums, input_precision=PRECISION, out_dtype=SUM)
    target = slopes + (first + n).to(tl.int64)[:, None] * total + begin + pixel[None, :]
    mask = (n < targets)[:, None] & there[None, :]
    sums += tl.load(target, mask=mask, other=0).to(SUM)
    tl.store(target, sums.to(slopes.dtype.element_ty), mask=mask)


@triton.jit(
    do_not_specialize=["known", "rows", "chunks", "parts", "steps"],
    do_not_specialize_on_alignment=["sources", "shifts"],
)
def collect(
    slopes: tl.tensor,
    maps: tl.tensor,
    sources: tl.tensor,
    shifts: tl.tensor,
    sums: tl.tensor,
    total: int,
    begin: int,
    count: int,
    known: int,
    rows: int,
    width: int,
    chunks: int,
    parts: int,
    steps: int,
    ROWS: constexpr,
    MAPS: constexpr,
    PIXELS: constexpr,
    SUM: constexpr,
    OPERAND: constexpr,
    PRECISION: constexpr,
) -> None:
    """Write the sums of products of shifted slopes and maps, each over a share of all pixels.

    ``sums`` are (shares, chunks * ROWS, width); a share is ``steps`` tiles. ``sources`` and
    ``shifts`` are those of `spread`.
    """
    part = tl.program_id(0) % parts
    chunk = tl.program_id(0) // parts % chunks
    share = tl.program_id(0) // parts // chunks
    r = chunk * ROWS + tl.arange(0, ROWS)
    n = part * MAPS + tl.arange(0, MAPS)
    down = tl.load(sources + r).to(tl.int64) * total - tl.load(shifts + r) + begin
    up = n.to(tl.int64) * total + begin
    found = tl.full([ROWS, MAPS], 0, SUM)
    for step in range(0, steps):
        pixel = (share * steps + step) * PIXELS + tl.arange(0, PIXELS)
        there = (pixel < count)[None, :]
        below = slopes + down[:, None] + pixel[None, :]
        left = tl.load(below, mask=(r < rows)[:, None] & there, other=0).to(OPERAND)
        above = maps + up[:, None] + pixel[None, :]
        right = tl.load(above, mask=(n < known)[:, None] & there, other=0).to(OPERAND)
        found = tl.dot(left, tl.trans(right), found, input_precision=PRECISION, out_dtype=SUM)
    place = (share * chunks * ROWS + r).to(tl.int64)[:, None] * width + n[None, :]
    tl.store(sums + place, found)
