"""What encoders learned on ImageNet: one safetensors file each, fetched once from a hub."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file

from brushfire.errors import ModelError
from brushfire.networks.backbones.encoder_unet import EncoderNetwork
from brushfire.networks.loading import load_timm

if TYPE_CHECKING:
    from brushfire.networks.architectures import Encoder
    from brushfire.networks.model import SegmentationModel

FILE = "model.safetensors"


class EncoderWeights:
    """The weights of one encoder, in the cache of the Hugging Face Hub or on their way there.

    No other file than a safetensors file is asked for, so that nothing is ever unpickled.

    Parameters
    ----------
    encoder : Encoder
        Whose.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._thread: threading.Thread | None = None
        self._path: Path | None = None
        self._error: Exception | None = None

    @property
    def pending(self) -> bool:
        """Whether they are being fetched."""
        return self._thread is not None and self._thread.is_alive()

    def fetch(self) -> None:
        """Begin to fetch them if they are not there; returns at once.

        A hub that does not answer is waited for up to half a minute.
        """
        if self._path is None and self._thread is None:
            self._error = None
            # A daemon: the hub's client cannot be interrupted, and nothing is half done by it.
            self._thread = threading.Thread(
                target=self._fetch, name="brushfire-encoder", daemon=True
            )
            self._thread.start()

    def give(self, model: SegmentationModel) -> None:
        """Give them to a model with that encoder, once they are there.

        Raises
        ------
        ModelError
            If they are not in the cache, and could not be fetched, or if the file is another one.
        """
        self.fetch()
        if self._thread is not None:
            self._thread.join()
            self._thread = None  # so that another try asks again
        if self._path is None:
            raise self._not_there() from self._error
        assert isinstance(model.layers, EncoderNetwork)
        path, self._path = self._path, None  # looked for anew each time: a wrong one is replaced
        try:
            model.layers.take_encoder(load_file(path))
        except (SafetensorError, OSError, RuntimeError, KeyError) as error:
            raise ModelError(
                f"{path} is a whole safetensors file with the weights of {self.encoder.title}.",
                got=f"{type(error).__name__}: {str(error)[:200]}",
                do="Delete it, so that it is fetched anew, or begin with random weights.",
            ) from error

    def _fetch(self) -> None:
        try:
            load_timm()  # without which they are of no use
            from huggingface_hub import hf_hub_download, try_to_load_from_cache

            repository = self.encoder.repository
            found = try_to_load_from_cache(repository, FILE)
            if not isinstance(found, str):
                found = hf_hub_download(repository, FILE)
            self._path = Path(found)
        except Exception as error:  # noqa: BLE001 - whoever asks for the weights is told
            self._error = error

    def _not_there(self) -> ModelError:
        folder = "models--" + self.encoder.repository.replace("/", "--")
        return ModelError(
            f"What {self.encoder.title} learned on ImageNet is fetched once from"
            f" huggingface.co/{self.encoder.repository}.",
            got=f"{type(self._error).__name__}: {str(self._error)[:200]}",
            do="Connect and start learning again, copy the folder"
            f" {folder} from the cache of another computer to {_cache()},"
            " or begin with random weights.",
        )


def _cache() -> str:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return "that of this one"
    return str(HF_HUB_CACHE)
