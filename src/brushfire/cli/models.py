"""The commands about models: those of a project, and the library."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushfire.cli.options import Axes, Painted, Time
from brushfire.cli.parsing import parse_object
from brushfire.cli.terminal import dice, messages, output, say, table
from brushfire.errors import ModelError

if TYPE_CHECKING:
    from brushfire.library import ModelCard
    from brushfire.networks.exchange import ForeignKind

app = typer.Typer(
    help="Models: those that a project keeps, and those in the library to start from.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Target(StrEnum):
    """Programs that a model is written for."""

    BRUSHFIRE = "brushfire"
    BIOIMAGEIO = "bioimageio"
    MONAI = "monai"


Name = Annotated[str, typer.Argument(help="Name in the library.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Take the place of a model that has the name.")
]


@app.command("list")
def list_(
    project: Annotated[
        Path | None,
        typer.Argument(help="NAME.brushfire, or its volume; the library without it."),
    ] = None,
    axes: Axes = None,
    time: Time = None,
) -> None:
    """List the models in the library, or those that a project keeps."""
    if project is not None:
        _list_project(project, axes, time)
        return
    from brushfire.library import Library

    library = Library()
    rows = []
    for entry in library.entries():
        card = entry.card
        if card is None:  # the others are told all the same
            rows.append((entry.name, entry.problem, "", "", ""))
            continue
        classes = ", ".join(one.name for one in card.classes)
        rows.append((entry.name, classes, _pixel(card), dice(card.mean_dice), card.licence))
    if not rows:
        say(output(), f"No model yet in {library.folder}: 'brushfire models save' adds one.")
        return
    output().print(table(("Model", "Classes", "Pixel", "Dice", "Licence"), rows))


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Name in the library, or a model file.")],
) -> None:
    """Show the card of a model."""
    from brushfire.library import Library, is_model_file, read_card, read_model_file

    path = Path(model)
    if path.suffix == ".safetensors" and path.exists():
        card = read_model_file(path).card
    else:
        card = read_card(path) if is_model_file(path) else Library().card(model)
    output().print(table(("", ""), _rows(card)))


@app.command()
def save(
    project: Painted,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    licence: Annotated[
        str, typer.Option(help="SPDX text for those who get it, such as CC-BY-4.0.")
    ] = "unknown",
    modality: Annotated[str, typer.Option(help="How the images were made.")] = "",
    description: Annotated[str, typer.Option(help="What else there is to say.")] = "",
    crops: Annotated[
        bool,
        typer.Option(
            "--crops",
            help="Take labelled crops along, against forgetting: they are parts of the images.",
        ),
    ] = False,
    replace: Replace = False,
    axes: Axes = None,
    time: Time = None,
) -> None:
    """Save the model that a project shows, and what strokes taught it, to the library."""
    from brushfire.cli.headless import follow, session_of

    with session_of(project, axes=axes, time=time, device=None, budget=None) as session:
        job = session.save_to_library(
            name, licence=licence, modality=modality, description=description, replace=replace,
            crops=crops,
        )  # fmt: skip
        state = follow(session, job)
    say(output(), state.message)


@app.command("import")
def import_(
    path: Annotated[
        Path,
        typer.Argument(
            help="NAME.bfmodel or its zip, safetensors, a bundle of MONAI, a package of the"
            " BioImage Model Zoo, or weights (.pt) of one of MONAI's networks."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What to call it; as its card says.")] = None,
    network: Annotated[
        str | None,
        typer.Option(help="For weights: MONAI's name of their network."),
    ] = None,
    arguments: Annotated[
        str, typer.Option(help="For weights: what that network is called with, a JSON object.")
    ] = "{}",
    replace: Replace = False,
) -> None:
    """Add a model to the library: ours, or of another program; nothing of it is run."""
    from brushfire.library import Library
    from brushfire.library.foreign import read_any

    kind = None if network is None else (network, parse_object(arguments))
    file, report = read_any(path, kind)
    entry = Library().add(file if name is None else file.named(name), replace=replace)
    for sentence in report:
        say(messages(), sentence)
    say(output(), str(entry.path))


@app.command()
def export(
    name: Name,
    out: Annotated[Path, typer.Argument(help="A folder, or a zip if it is named NAME.zip.")],
    target: Annotated[Target, typer.Option("--for", help="Who shall read it.")] = Target.BRUSHFIRE,
    crops: Annotated[
        bool,
        typer.Option("--crops", help="With the labelled crops that it has, parts of the images."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Write a model of the library to a file for others."""
    from brushfire.library import Library

    if target is Target.BRUSHFIRE:
        Library().export(name, out, overwrite=overwrite, crops=crops)
    else:
        from brushfire.library.foreign import write_for

        kind: ForeignKind = "monai" if target is Target.MONAI else "bioimageio"
        write_for(Library().get(name), out, kind, overwrite=overwrite)
    say(output(), str(out))


@app.command()
def remove(name: Name) -> None:
    """Remove a model from the library."""
    from brushfire.library import Library

    Library().remove(name)
    say(output(), f"{name} is no longer in the library.")


@app.command()
def add(
    project: Painted,
    file: Annotated[Path, typer.Argument(help="Model file to keep and show from now on.")],
    axes: Axes = None,
    time: Time = None,
) -> None:
    """Keep a model file in a project, as the model that is shown and learned on from."""
    from brushfire.cli.adopt import adopt_model

    adopt_model(project, file, axes=axes, time=time)
    _list_project(project, axes, time)


def _list_project(project: Path, axes: str | None, time: int | None) -> None:
    from brushfire.cli.headless import project_of
    from brushfire.project import open_project

    opened = open_project(project_of(project, axes, time))
    names = {c.value: c.name for c in opened.state.classes}
    rows = []
    for revision in opened.models():
        shown = "shown" if revision == opened.state.shown_model else ""
        try:
            model = opened.load_model(revision)
        except ModelError as error:  # of another version: the others are told all the same
            rows.append((str(revision), shown, str(error), "-", "-", "", ""))
            continue
        net = model.settings
        network = f"depth {net.depth}, width {net.width}, {net.slices} slices"
        step = str(model.metrics.get("step", "-"))
        mean = dice(model.metrics.get("mean_dice"))
        scores = _scores(model.metrics, names)
        before = _remembered(model.metrics)
        rows.append((str(revision), shown, network, step, mean, scores, before))
    if not rows:
        say(output(), "No model yet: run 'brushfire train', or start learning in the window.")
        return
    heads = ("Model", "", "Network", "Step", "Dice", "Dice of each class", "Of its start")
    used = len(heads) if any(row[-1] for row in rows) else len(heads) - 1
    output().print(table(heads[:used], [row[:used] for row in rows]))


def _rows(card: "ModelCard") -> list[Sequence[str]]:
    """Return a card as rows of a word and its value; what nobody knows is left out."""
    made, data = card.made, card.data
    network = ", ".join(f"{key} {_short(value)}" for key, value in card.network.items())
    rows: list[Sequence[str]] = [
        ("Name", card.name),
        ("Description", card.description),
        ("Classes", ", ".join(f"{one.value} {one.name}" for one in card.classes)),
        ("Channels", str(card.channels)),
        ("Network", network),
        ("Halo", f"{card.halo} pixels"),
        ("Dice", dice(card.mean_dice)),
        ("Dice of each class", ", ".join(f"{name} {dice(s)}" for name, s in card.dice.items())),
    ]
    if data is not None:
        size = "unknown"
        if data.voxel_size is not None:
            z, y, x = data.voxel_size
            size = f"{z:.4g} x {y:.4g} x {x:.4g} µm (z, y, x)"
        rows += [
            ("Data", f"{' x '.join(map(str, data.shape))} voxels, {data.dtype}"),
            ("Voxel size", size),
            ("Modality", data.modality),
        ]
    rows += [
        ("Learned in", made.project),
        ("Started from", made.started_from),
        ("What it tells of that", _remembered(card.metrics)),
        ("Strokes", "" if made.strokes is None else f"{made.strokes}, {made.voxels} voxels"),
        ("Steps", "" if made.steps is None else str(made.steps)),
        ("Labelled voxels", "come along" if card.examples_sha256 else "none"),
        ("Labelled crops", "come along, parts of the images" if card.patches_sha256 else ""),
        ("Licence", card.licence),
        ("Brushfire", card.brushfire),
    ]
    return [row for row in rows if row[1]]


def _remembered(metrics: Mapping[str, Any]) -> str:
    """Return what a model still tells of what it started from, and what it told when it came."""
    from brushfire.learning.reports import Remembered

    try:
        found = Remembered.from_metrics(metrics.get("before"))
    except (AttributeError, KeyError, TypeError, ValueError):  # whatever somebody wrote
        found = None
    return "" if found is None else found.figures


def _pixel(card: "ModelCard") -> str:
    """Return the size of the pixels that a model has seen."""
    pixel = None if card.data is None else card.data.pixel
    return "unknown" if pixel is None else f"{pixel:.4g} µm"


def _scores(metrics: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """Return the Dice of each class that has one."""
    scores = {int(value): score for value, score in metrics.get("dice", {}).items()}
    return ", ".join(f"{names.get(value, value)} {dice(one)}" for value, one in scores.items())


def _short(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)
