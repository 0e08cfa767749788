"""The tools of the BioImage Model Zoo take what is written, and what they pack is read."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
import torch

from brushfire.errors import ModelError
from brushfire.networks.exchange.package import Package
from brushfire.networks.exchange.zoo import read_package
from brushfire.networks.exchange.zoo_export import write_zoo_package
from support.monai_files import ABOUT, made_here
from support.zoo_tools import spec

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("yaml")

# The tools leave files open, and so do what they stand on.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KINDS = ["dynunet", "dynunet 3D", "windows", "attention", "msd", "features", "adapter"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_zoo_takes_what_is_written_and_it_comes_back(tmp_path: Path, kind: str) -> None:
    model = made_here(kind)
    write_zoo_package(model, tmp_path / "model", {4: "cell", 2: "rest"}, ABOUT)
    found = spec().load_description(tmp_path / "model/rdf.yaml", format_version="latest")
    assert found.validation_summary.status == "valid-format", found.validation_summary.format()
    assert found.license == "CC-BY-4.0"
    back = read_package(Package(tmp_path / "model"))
    assert back.classes == {4: "cell", 2: "rest"}
    assert back.own_intensities
    assert {name: back.about[name] for name in ("name", "description", "licence", "authors")} == {
        name: ABOUT[name] for name in ("name", "description", "licence", "authors")
    }
    assert "10.1000/xyz123" in back.about["cite"]
    x = torch.randn(1, 2 * model.settings.slices, 64, 64) * 3 + 12
    with torch.no_grad():
        torch.testing.assert_close(back.model(x), model(x), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_zoo_runs_what_is_written(tmp_path: Path) -> None:
    spec()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its own dependencies deprecate
        core = pytest.importorskip("bioimageio.core")
        for kind in ("dynunet 3D", "features"):
            write_zoo_package(made_here(kind), tmp_path / kind, {}, ABOUT)
            summary = core.test_description(tmp_path / kind / "rdf.yaml", format_version="latest")
            assert summary.status == "passed", summary.format()


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    about = {"name": "a/b: c", "cite": "nobody", "licence": "unknown"}
    write_zoo_package(made_here("msd"), tmp_path / "model", {}, about)
    found = spec().load_description(tmp_path / "model/rdf.yaml", format_version="latest")
    assert found.validation_summary.status == "valid-format", found.validation_summary.format()
    assert found.name == "a b  c"
    with pytest.raises(ModelError, match="which exists"):
        write_zoo_package(made_here("msd"), tmp_path / "model", {}, about)


def test_a_package_that_the_zoo_packed(tmp_path: Path) -> None:
    write_zoo_package(made_here("dynunet"), tmp_path / "model", {4: "cell", 2: "rest"}, ABOUT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec().save_bioimageio_package(
            tmp_path / "model/rdf.yaml", output_path=tmp_path / "packed.zip"
        )
    back = read_package(Package(tmp_path / "packed.zip"))
    assert back.model.settings.slices == 3
    assert back.classes == {4: "cell", 2: "rest"}
