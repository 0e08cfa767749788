"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[Path, typer.Argument(help="OME-Zarr, TIFF, folder of TIFFs, or .npy.")]
Painted = Annotated[Path, typer.Argument(help="NAME.brushfire, or the volume that it belongs to.")]
Axes = Annotated[
    str | None, typer.Option(help="Axes of the file if it does not say, or says it wrong, as tzyx.")
]
VoxelSize = Annotated[str | None, typer.Option(help="Micrometres, as 0.5,0.1,0.1 (z,y,x).")]
Time = Annotated[int | None, typer.Option(help="Time point of a series, from 0.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps or xpu; the best by default.")]
Memory = Annotated[
    float | None, typer.Option(help="Budget in GiB; the project's or half the machine's otherwise.")
]
Clip = Annotated[
    bool, typer.Option("--clip", help="Whole numbers: round, and clip what lies beyond.")
]
Rescale = Annotated[
    str | None, typer.Option(help="Whole numbers: bring this range to all of theirs, as 0,1.5.")
]
