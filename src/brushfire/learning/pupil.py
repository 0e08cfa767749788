"""What learns, as the engine's coach sees it: from strokes or to restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.learner import Learner
    from brushfire.learning.reports import Judged, Proposal, StepReport
    from brushfire.learning.restoring.learner import RestorationLearner
    from brushfire.networks.snapshot import ModelSnapshot

    # Checked by the type checker, here and nowhere else.
    _PUPILS: tuple[type[Pupil], ...] = (Learner, RestorationLearner)


class Pupil(Protocol):
    """Learns one short call at a time, in one thread."""

    @property
    def ready(self) -> str | None:
        """None when learning is possible, else a sentence that says what is missing."""

    @property
    def step_count(self) -> int:
        """Gradient steps so far, those that a restored model had behind it included."""

    @property
    def seconds(self) -> float:
        """How long it has learnt, those of a restored model included; pauses are not."""

    @property
    def stroke_count(self) -> int:
        """Connected stroke regions that there are to learn from; 0 where none are needed."""

    @property
    def settled(self) -> bool:
        """Whether many steps have made no model that is better."""

    @property
    def history(self) -> tuple[ModelSnapshot, ...]:
        """The accepted models that can be gone back to, the shown one last."""

    @property
    def can_undo(self) -> bool:
        """Whether there is an accepted model before the shown one."""

    def set_annotations(self, snapshot: AnnotationSnapshot) -> None:
        """Take over newer strokes, where these are what is learned from."""

    @property
    def awaited(self) -> str:
        """What is being fetched, in a sentence, or ""."""

    def fetch(self) -> None:
        """Begin to fetch what a new network begins with, if it is not there; returns at once."""

    def fit(self) -> None:
        """Make a first answer in about a second."""

    def step(self) -> StepReport:
        """Make one gradient step."""

    def propose(self) -> Proposal[Judged]:
        """Show what was learned, if it is good enough."""

    def undo(self) -> ModelSnapshot | None:
        """Go back to the accepted model before the shown one; None where there is none."""

    def restore(self, models: Sequence[ModelSnapshot]) -> None:
        """Show and learn on from the last of these models; the others can be gone back to."""

    def shrink(self) -> bool:
        """Halve the work of a step after running out of memory; False when nothing is left."""

    def limit(self, step_bytes: float) -> None:
        """Change the memory that a step may take from now on."""
