"""Say in a sentence what goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brushfire.session.session import Session
    from brushfire.session.states import JobState, LearningState


def status_sentence(session: Session) -> str:
    """Return what the engine does now, or what to do next."""
    if session.volume is None:
        return "Open a volume to begin."
    running = [job for job in session.jobs if job.state == "running"]
    counts = session.labels.counts() if session.labels else {}
    taught = {value for value, entry in counts.items() if entry.voxels}
    if taught:
        taught |= session.classes_from_start
    if session.task == "restore":
        sentence = _restoring(session.learning)
    else:
        sentence = _learning(session.learning, len(taught), session.confirmed)
    return " ".join([sentence, *(_job(job) for job in running)])


def _learning(state: LearningState, taught: int, confirmed: bool) -> str:
    """Return what learning from strokes does; so many classes are ``taught``."""
    shown = _shown(state)
    match state.phase:
        case "fitting":
            return state.message or f"Fitting the first answer to your strokes{_after(shown)}."
        case "resting":
            return f"Learning rests: nothing better came. Paint, and it goes on{_after(shown)}."
        case "idle":
            pass
        case _:
            return _at_work(state, shown)
    if shown:
        return f"Not learning{_after(shown)}."
    if not confirmed:
        return "Check how the volume is read, then use it."
    if taught > 1:
        return "Start learning, and go on painting meanwhile."
    if taught == 1:
        return "Paint a second class: learning needs strokes of at least two."
    return "Paint a few strokes of each class, then start learning."


def _restoring(state: LearningState) -> str:
    """Return what learning to restore does."""
    shown = _shown(state)
    match state.phase:
        case "fitting":
            return f"Fitting the first answer{_after(shown)}."
        case "resting":
            return f"Learning rests: nothing better came for long{_after(shown)}."
        case "idle":
            return f"Not learning{_after(shown)}." if shown else "Start learning to restore."
        case _:
            return _at_work(state, shown)


def _shown(state: LearningState) -> str:
    """Return which model is shown and how good it is, "" for none."""
    shown = ""
    if state.shown_model is not None:
        shown = f"showing model {state.shown_model}"
        if state.shown_dice is not None:
            found = state.evaluation
            crossed = found is not None and found.how == "cross-validated"
            how = "by cross-validation" if crossed else "on held-out strokes"
            shown += f", {state.shown_dice:.2f} Dice {how}"
        elif state.restoration is not None:
            where = "on held-out slices" if state.restoration.held_out else "where it learned"
            shown += f", {state.restoration} {where}"
    return shown


def _at_work(state: LearningState, shown: str) -> str:
    """Return what is said in the phases that both tasks have alike."""
    if state.phase == "training":
        rate = f", {state.steps_per_second:.1f}/s" if state.steps_per_second else ""
        return f"Learning: step {state.step}{rate}{_after(shown)}."
    if state.phase == "paused":
        return f"Paused at step {state.step}{_after(shown)}."
    return state.message or "Starting."


def _after(shown: str) -> str:
    return f"; {shown}" if shown else ""


def _job(job: JobState) -> str:
    if job.total:
        return f"{job.title}: {job.done} of {job.total}."
    return f"{job.title}."
