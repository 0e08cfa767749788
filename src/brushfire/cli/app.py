"""The commands; each is thin, and imports what it needs when it runs."""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brushfire.cli import models
from brushfire.cli.options import (
    Axes,
    Clip,
    Device,
    Memory,
    Painted,
    Rescale,
    Source,
    Time,
    VoxelSize,
)
from brushfire.cli.parsing import (
    parse_budget,
    parse_format,
    parse_numbers,
    parse_offset,
    parse_range,
    parse_region,
    parse_scale,
    parse_seconds,
    parse_shape,
    parse_shares,
)
from brushfire.cli.terminal import (
    JobFailedError,
    dice,
    interruptible,
    messages,
    output,
    progress_bar,
    say,
    table,
)
from brushfire.errors import (
    AxesError,
    BrushfireError,
    Cancelled,
    SettingsError,
    VolumeError,
)

if TYPE_CHECKING:
    from brushfire.learning.reports import Correction

BAD_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(
    name="brushfire",
    help="Paint a few strokes on a huge volume; a small network learns while you paint.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(models.app, name="models")


class Format(StrEnum):
    """Formats of an export."""

    OME_ZARR = "ome-zarr"
    TIFF = "tiff"


class On(StrEnum):
    """What is segmented."""

    GIVEN = "given"
    DENOISED = "denoised"


class Sample(StrEnum):
    """Kinds of samples."""

    FOAM = "foam"
    NOISE = "noise"
    ANGLES = "angles"
    WEDGE = "wedge"
    ZOOM = "zoom"


class Program(StrEnum):
    """Programs whose model files can be converted."""

    BRUSHFIRE = "brushfire"
    MSD_PYTORCH = "msd_pytorch"
    DLSIA = "dlsia"


class Edge(StrEnum):
    """What a network sees beyond the edges of a slice."""

    ZERO = "zero"
    REFLECT = "reflect"
    SYMMETRIC = "symmetric"


class Weights(StrEnum):
    """Which weights a start takes over."""

    ALL = "all"
    LOWER = "lower"
    STATISTICS = "statistics"
    SLIM = "slim"
    GABOR = "gabor"
    NONE = "none"


class Channels(StrEnum):
    """What becomes of weights for another number of channels."""

    MEAN = "mean"
    COPY = "copy"
    ADAPTER = "adapter"


class Schedule(StrEnum):
    """Which weights learn, and how fast."""

    ALL = "all"
    FROZEN = "frozen"
    GRADED = "graded"
    HEAD = "head"
    LOW_RANK = "low-rank"


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Paint a few strokes on a huge volume; a small network learns while you paint."""
    if version:
        from brushfire import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("open")
def open_(
    path: Annotated[Path | None, typer.Argument(help="A volume or a project folder.")] = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    time: Time = None,
) -> None:
    """Open napari with the Brushfire panel, and PATH in it."""
    if path is not None and not (path / "project.json").is_file():
        _check_volume(path, axes, voxel_size, time)
    _require_window()
    from brushfire.ui.launch import launch

    launch(path, axes=axes, voxel_size=parse_scale(voxel_size), time=time)


@app.command()
def info(path: Source, axes: Axes = None, voxel_size: VoxelSize = None, time: Time = None) -> None:
    """Show what a volume is, without loading it."""
    from brushfire.volumes import open_volume

    if (path / "project.json").is_file():
        raise VolumeError(
            "What is shown is a volume.",
            got=f"the project {path}",
            do="Name the volume; 'brushfire models list' shows what a project has learned.",
        )
    volume = open_volume(path, axes=axes, voxel_size=parse_scale(voxel_size), time=time)
    try:
        statistics = volume.statistics()
        rows = [("Name", volume.name), *volume.summary()]
        shown = zip(volume.channels, statistics.low, statistics.high, strict=True)
        rows += [(f"Display, {name}", f"{low:.6g} to {high:.6g}") for name, low, high in shown]
        advice = "brushfire pyramid makes it faster to look at" if volume.needs_pyramid else "none"
        rows.append(("Advice", advice))
    finally:
        volume.close()
    output().print(table(("", ""), rows))


@app.command()
def pyramid(
    path: Source,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for them; the volume's project by default, where it finds them."),
    ] = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    time: Time = None,
    memory: Memory = None,
) -> None:
    """Build the reduced levels that a volume lacks."""
    from brushfire.project import default_folder
    from brushfire.session.memory import default_budget, shares
    from brushfire.volumes import build_pyramid, open_volume

    budget = shares(parse_budget(memory) or default_budget()).blocks
    volume = open_volume(
        path,
        axes=axes,
        voxel_size=parse_scale(voxel_size),
        time=time,
        cache_bytes=0,  # building reads each chunk once
    )
    try:
        folder = default_folder(volume) / "pyramid" if out is None else out
        title = f"Building the pyramid of {volume.name}"
        with interruptible() as stop, progress_bar(title) as update:
            built = build_pyramid(
                volume,
                folder,
                budget_bytes=budget,
                progress=lambda done, total: update(done, total, title),
                cancelled=stop.is_set,
            )
        levels = ", ".join(" x ".join(map(str, level.shape)) for level in built.levels)
        say(output(), f"Levels: {levels}")
        say(output(), f"In {folder}" if built is not volume else "None is missing.")
    finally:
        volume.close()


@app.command()
def sample(
    path: Annotated[
        Path, typer.Argument(help="A folder; or NAME.ome.zarr, for a foam to segment.")
    ],
    kind: Annotated[
        Sample,
        typer.Option(
            help="To segment: foam. To restore, with the truth beside it: a scan with noise, few"
            " angles, or a missing wedge; or one with voxels too large (zoom)."
        ),
    ] = Sample.FOAM,
    shape: Annotated[
        str | None, typer.Option(help="Voxels, z,y,x; by default as large as does for its kind.")
    ] = None,
    angles: Annotated[
        int | None, typer.Option(help="Projections; fewer make more streaks.")
    ] = None,
    photons: Annotated[float | None, typer.Option(help="Per pixel; fewer make more noise.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another number makes another foam.")] = 0,
) -> None:
    """Make a foam, its tomographic reconstruction, and the truth."""
    from brushfire.cli.samples import make_sample

    size = None if shape is None else parse_shape(shape)
    for made in make_sample(path, kind.value, size, angles=angles, photons=photons, seed=seed):
        say(output(), str(made))


@app.command()
def splits(
    sinogram: Annotated[
        Path, typer.Argument(help="NAME.npy: minus the logarithm of what passed, (z, angle, x).")
    ],
    out: Annotated[Path, typer.Option(help="NAME.ome.zarr to write, one channel for each part.")],
    parts: Annotated[int, typer.Option(help="How many reconstructions.")] = 4,
    degrees: Annotated[
        float, typer.Option(help="What the angles cover, evenly spaced, the last one left out.")
    ] = 180,
    theta: Annotated[
        Path | None, typer.Option(help="NAME.npy with each angle in degrees, instead.")
    ] = None,
    voxel_size: VoxelSize = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Reconstruct a small scan in parts that share no projection, to learn to denoise from."""
    from brushfire.cli.samples import split_scan

    made = split_scan(
        sinogram, out, parts=parts, degrees=degrees, theta=theta,
        voxel_size=parse_scale(voxel_size), overwrite=overwrite,
    )  # fmt: skip
    say(output(), str(made))


@app.command()
def train(
    project: Painted,
    seconds: Annotated[float, typer.Option(min=1, help="How long to learn.")] = 120,
    on: Annotated[
        On | None, typer.Option(help="The volume as it is, or denoised; by default as before.")
    ] = None,
    axes: Axes = None,
    time: Time = None,
    device: Device = None,
    memory: Memory = None,
) -> None:
    """Learn from the strokes of a project, without a window."""
    from brushfire.cli.headless import learn, segment_on, session_of

    budget = parse_budget(memory)
    with session_of(project, axes=axes, time=time, device=device, budget=budget) as session:
        segment_on(session, None if on is None else on.value)
        state = learn(session, parse_seconds(seconds))
        names = {c.value: c.name for c in session.classes}
    found = state.evaluation
    scores = found.dice if found else {}
    how = "Cross-validated" if found and found.how == "cross-validated" else "Held-out"
    rows = [
        ("Steps", str(state.step)),
        ("Model", "none" if state.shown_model is None else str(state.shown_model)),
        (f"{how} Dice", dice(state.shown_dice)),
        *((f"  {names.get(value, value)}", dice(score)) for value, score in scores.items()),
    ]
    output().print(table(("", ""), rows))


@app.command()
def worth(
    project: Painted,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps with it, and without.")] = 100,
    axes: Axes = None,
    time: Time = None,
    device: Device = None,
    memory: Memory = None,
) -> None:
    """Measure what the start of a project was worth, against learning from scratch."""
    from brushfire.cli.headless import follow, session_of

    budget = parse_budget(memory)
    with session_of(project, axes=axes, time=time, device=device, budget=budget) as session:
        state = follow(session, session.measure_start(steps))
    say(output(), state.message)


@app.command()
def export(
    project: Painted,
    out: Annotated[Path, typer.Option(help="Target: NAME.ome.zarr or NAME.tif.")],
    format: Annotated[Format | None, typer.Option(help="By default as OUT's name says.")] = None,
    region: Annotated[
        str | None, typer.Option(help="As 10:20,:,512:1024 (z,y,x); the whole volume without it.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT once the new one is complete.")
    ] = False,
    axes: Axes = None,
    time: Time = None,
    device: Device = None,
    memory: Memory = None,
) -> None:
    """Predict and export masks; goes on where it was ended."""
    from brushfire.cli.headless import follow, need_model, session_of
    from brushfire.export import check_target

    wanted = format or Format(parse_format(out))
    check_target(out, wanted, overwrite=overwrite)
    budget = parse_budget(memory)
    with session_of(project, axes=axes, time=time, device=device, budget=budget) as session:
        assert session.volume is not None
        need_model(session)
        box = parse_region(region, session.volume.shape)
        job = session.export(out, format=wanted.value, region=box, overwrite=overwrite)
        state = follow(session, job)
    say(output(), state.message)


@app.command()
def start(
    project: Annotated[
        Path, typer.Argument(help="A volume, which gets a project if it has none, or a project.")
    ],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="What has learned what shall be known here: a project, a model file, or the name"
            " of a model in the library.",
        ),
    ],
    weights: Annotated[Weights, typer.Option(help="Which weights are taken over.")] = Weights.ALL,
    stages: Annotated[
        int, typer.Option(min=1, max=12, help="How many stages, for 'lower' and 'slim'.")
    ] = 2,
    channels: Annotated[
        Channels, typer.Option(help="What becomes of weights for another number of channels.")
    ] = Channels.MEAN,
    schedule: Annotated[
        Schedule | None, typer.Option(help="Which weights learn from then on, and how fast.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Forget what the project has learned; strokes stay.")
    ] = False,
    axes: Axes = None,
    time: Time = None,
) -> None:
    """Start a project from what was learned elsewhere: a model, and what strokes taught it."""
    from brushfire.cli.headless import begin
    from brushfire.learning.transfer.strategies import StartSettings

    rows = begin(
        project, source, StartSettings(weights.value, stages, channels.value),
        None if schedule is None else schedule.value, replace=replace, axes=axes, time=time,
    )  # fmt: skip
    output().print(table(("", ""), rows))


@app.command()
def convert(
    path: Annotated[Path, typer.Argument(help="Model file to read.")],
    out: Annotated[
        Path, typer.Argument(help="Model file to write; as safetensors if it is named so.")
    ],
    source: Annotated[
        Program, typer.Option("--from", help="Program that wrote it.")
    ] = Program.BRUSHFIRE,
    target: Annotated[
        Program, typer.Option("--to", help="Program that shall read OUT.")
    ] = Program.BRUSHFIRE,
    classes: Annotated[
        str | None,
        typer.Option(help="Class values in the order of the outputs; by default 1,2,..."),
    ] = None,
    dilations: Annotated[
        str | None, typer.Option(help="Cycled through by the layers; by default 1,2,... to 10.")
    ] = None,
    border: Annotated[
        Edge | None,
        typer.Option(help="What a network of dlsia sees beyond the edges; by default zero."),
    ] = None,
    slices: Annotated[
        int | None, typer.Option(help="Neighbouring slices given as inputs; by default 1.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Convert a model from or for msd_pytorch or dlsia."""
    from brushfire.cli.convert import convert_model

    made = convert_model(
        path, out, source.value, target.value, overwrite=overwrite,
        classes=parse_numbers(classes), dilations=parse_numbers(dilations),
        border=None if border is None else border.value, slices=slices,
    )  # fmt: skip
    net = made.settings
    rows = [
        ("Network", f"depth {net.depth}, width {net.width}, {net.slices} slices"),
        ("Channels", str(made.channels)),
        ("Dilations", ", ".join(map(str, net.dilations))),
        ("Border", net.border),
        ("Classes", ", ".join(map(str, made.classes))),
    ]
    output().print(table(("", ""), rows))
    say(output(), str(out))


@app.command()
def doctor() -> None:
    """Show what a problem report should say."""
    from brushfire.cli.doctor import facts

    output().print(table(("", ""), facts()))


@app.command()
def demo(
    volume: Annotated[Path | None, typer.Option(help="A volume of your own.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Its true classes.")] = None,
    slices: Annotated[int, typer.Option(min=1, help="How many slices get strokes.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="How long it learns.")] = 120,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("demo_output"),
    headless: Annotated[bool, typer.Option("--headless", help="End by itself.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of strokes, patches and weights.")] = 0,
) -> None:
    """Watch it open, paint, learn and export; writes a summary."""
    if (volume is None) != (truth is None):
        raise typer.BadParameter("--volume and --truth go together: name both or neither.")
    if volume is not None and truth is not None:
        _check_truth(volume, truth)
    _require_window()
    from brushfire.ui.demo import run_demo

    summary = run_demo(
        volume=volume, truth=truth, slices=slices, seconds=parse_seconds(seconds), out=out,
        headless=headless, seed=seed,
    )  # fmt: skip
    rows = [(key, _short(value)) for key, value in summary.items()]
    output().print(table(("", ""), rows))


@app.command()
def distill(
    project: Painted,
    depth: Annotated[int, typer.Option(help="Layers of the small network.")] = 24,
    width: Annotated[int, typer.Option(help="Maps that each layer adds.")] = 1,
    steps: Annotated[int, typer.Option(help="Gradient steps at most.")] = 3000,
    seconds: Annotated[float, typer.Option(min=1, help="How long it learns at most.")] = 600,
    out: Annotated[
        Path | None, typer.Option(help="Model file to write; the project keeps it otherwise.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    axes: Axes = None,
    time: Time = None,
    device: Device = None,
    memory: Memory = None,
) -> None:
    """Teach a small, fast network what the project's model says, and show that one instead."""
    from brushfire.cli.convert import check_new
    from brushfire.cli.correcting import distil_model
    from brushfire.cli.headless import session_of

    if out is not None:
        check_new(out, overwrite=overwrite)
    budget = parse_budget(memory)
    with session_of(project, axes=axes, time=time, device=device, budget=budget) as session:
        rows = distil_model(
            session, depth=depth, width=width, steps=steps, seconds=parse_seconds(seconds), out=out
        )
    output().print(table(("", ""), rows))


@app.command()
def calibrate(
    project: Painted,
    share: Annotated[
        list[str] | None,
        typer.Option(
            help="Which part of the volume a class is, as pore=0.02; may be given for each class,"
            " the others share what is left. Without it the model estimates all."
        ),
    ] = None,
    second_stage: Annotated[
        bool,
        typer.Option("--second-stage", help="Fit the last layer anew rather than shift biases."),
    ] = False,
    as_learned: Annotated[
        bool, typer.Option("--as-learned", help="Do without what was given before.")
    ] = False,
    axes: Axes = None,
    time: Time = None,
    device: Device = None,
    memory: Memory = None,
) -> None:
    """Correct the project's model for how common classes are, and show that one instead."""
    from brushfire.cli.correcting import calibrate_model
    from brushfire.cli.headless import session_of

    if as_learned and (share or second_stage):
        raise typer.BadParameter("--as-learned stands alone: it does without the others.")
    how: Correction = "second stage" if second_stage else "calibrated"
    shares = parse_shares(share or ())
    budget = parse_budget(memory)
    with session_of(project, axes=axes, time=time, device=device, budget=budget) as session:
        rows, said = calibrate_model(session, shares, "as learned" if as_learned else how)
    output().print(table(("", "Before", "After"), rows))
    say(output(), said)


@app.command()
def denoise(
    volume: Annotated[Path, typer.Argument(help="What is noisy: a volume, or its project.")],
    out: Annotated[Path, typer.Option(help="Target: NAME.ome.zarr or NAME.tif.")],
    clean: Annotated[
        Path | None,
        typer.Option(help="The same without noise; with --offset, a zoomed scan."),
    ] = None,
    offset: Annotated[
        str | None,
        typer.Option(
            help="Corner of the zoomed scan in VOLUME, micrometres, as 120,0,85.5 (z,y,x)."
        ),
    ] = None,
    as_placed: Annotated[
        bool, typer.Option("--as-placed", help="Do not look for the zoomed scan near there.")
    ] = False,
    part: Annotated[
        list[Path] | None,
        typer.Option(help="A reconstruction of some of the projections; give two or more."),
    ] = None,
    channels: Annotated[
        bool, typer.Option("--channels", help="The channels of VOLUME are such reconstructions.")
    ] = False,
    one_to_many: Annotated[
        bool,
        typer.Option("--one-to-many", help="Predict the others from each part, not it from them."),
    ] = False,
    blind: Annotated[
        bool, typer.Option("--blind", help="Learn from hidden pixels of VOLUME alone.")
    ] = False,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="Learn from neighbouring slices of VOLUME.")
    ] = False,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="A further scan of a series to learn from; give as many as you like."),
    ] = None,
    also_clean: Annotated[
        list[Path] | None,
        typer.Option(help="With --clean: the clean one of each --also, in the same order."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="How differences count: mse, l1, or ssim; mse by default."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Which network learns, such as msd or basic_unet.")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Its layers, or resolutions.")] = None,
    slices: Annotated[int | None, typer.Option(help="Slices that it sees, an odd number.")] = None,
    in_3d: Annotated[
        bool, typer.Option("--in-3d", help="Convolve across slices, where the network can.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0, help="How long to learn; 0 for what was learned before.")
    ] = 300,
    dtype: Annotated[
        str | None, typer.Option(help="Type of the voxels in OUT; float32 by default.")
    ] = None,
    clip: Clip = False,
    rescale: Rescale = None,
    format: Annotated[Format | None, typer.Option(help="By default as OUT's name says.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT once the new one is complete.")
    ] = False,
    axes: Axes = None,
    time: Time = None,
    device: Device = None,
    memory: Memory = None,
) -> None:
    """Learn to restore a volume, from pairs or from nothing, and write all of it."""
    from brushfire.cli.denoising import Lessons, Shape, conversion_of
    from brushfire.cli.denoising import denoise as run

    lessons = Lessons(
        clean=clean, offset=parse_offset(offset), refine=not as_placed, parts=tuple(part or ()),
        channels=channels, one_to_many=one_to_many, blind=blind, neighbours=neighbours,
        also=tuple(also or ()), also_clean=tuple(also_clean or ()),
    )  # fmt: skip
    facts = run(
        volume,
        out,
        lessons,
        Shape(loss, network, depth, slices, in_3d=in_3d),
        seconds=seconds,
        conversion=conversion_of(dtype, clip=clip, rescale=parse_range(rescale)),
        format=(format or Format(parse_format(out))).value,
        overwrite=overwrite,
        axes=axes,
        time=time,
        device=device,
        budget=parse_budget(memory),
    )
    output().print(table(("", ""), facts))


@app.command()
def predict(
    project: Painted,
    volumes: Annotated[list[Path], typer.Argument(help="Other volumes, as those of a series.")],
    out: Annotated[Path, typer.Option(help="Folder for what is restored of each.")],
    dtype: Annotated[
        str | None, typer.Option(help="Type of the voxels; float32 by default.")
    ] = None,
    clip: Clip = False,
    rescale: Rescale = None,
    format: Annotated[Format, typer.Option(help="Of each file.")] = Format.OME_ZARR,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there once the new is complete.")
    ] = False,
    axes: Axes = None,
    time: Time = None,
    device: Device = None,
    memory: Memory = None,
) -> None:
    """Restore other volumes by what a project has learned to restore."""
    from brushfire.cli.applying import predict_volumes
    from brushfire.cli.denoising import conversion_of

    written = predict_volumes(
        project,
        volumes,
        out,
        format=format.value,
        conversion=conversion_of(dtype, clip=clip, rescale=parse_range(rescale)),
        overwrite=overwrite,
        axes=axes,
        time=time,
        device=device,
        budget=parse_budget(memory),
    )
    output().print(table(("Volume", "Restored"), written))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        0, 2 for bad input (with a sentence on stderr), 130 after Ctrl-C.
    """
    try:
        app(list(sys.argv[1:] if arguments is None else arguments), prog_name="brushfire")
    except SystemExit as ending:
        return _exit_code(ending.code)
    except AxesError as error:
        say(messages(), f"{error} Here that is --axes tzyx and --time 0, for example.")
        return BAD_INPUT
    except (BrushfireError, JobFailedError) as error:
        say(messages(), str(error))
        return BAD_INPUT
    except Cancelled as cancelled:
        say(messages(), str(cancelled) or "Ended early. What was finished is kept.")
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _require_window() -> None:
    """Say in a sentence what Qt would say by ending the process."""
    if find_spec("napari") is None:
        raise SettingsError(
            "The window needs napari and a Qt binding.",
            got="an installation without them",
            do='Run: pip install "napari-brushfire[all]"',
        )
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in screens):
        raise SettingsError(
            "The window needs a screen.",
            got="neither DISPLAY nor WAYLAND_DISPLAY",
            do='Run it on a virtual one: xvfb-run -a -s "-screen 0 1600x1000x24" brushfire ...',
        )


def _check_volume(path: Path, axes: str | None, voxel_size: str | None, time: int | None) -> None:
    """Raise before a window opens, which takes seconds, what opening would raise in it."""
    from brushfire.volumes import open_volume

    open_volume(path, axes=axes, voxel_size=parse_scale(voxel_size), time=time).close()


def _check_truth(volume: Path, truth: Path) -> None:
    """Raise where labels do not belong to a volume, before a window opens."""
    from brushfire.volumes import open_volume

    image = open_volume(volume)
    labels = open_volume(truth)
    if labels.shape != image.shape or len(labels.channels) != 1 or labels.dtype.kind not in "ui":
        raise VolumeError(
            f"The truth is one channel of whole numbers in the shape of its volume, {image.shape}.",
            got=f"{labels.shape} {labels.dtype}, channels: {len(labels.channels)}, in {truth}",
            do="Name the labels that were made on this volume, or crop and convert them.",
        )


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_short(part) for part in value)
    return str(value)
