"""The two queues between engine and session."""

from __future__ import annotations

import threading

import numpy as np

from brushfire.engine import messages as m
from brushfire.engine.mailbox import UNREAD, Inbox, Outbox
from brushfire.geometry import Box
from brushfire.prediction import Tile


def view(z: int) -> m.SetView:
    return m.SetView(Box((z, 0, 0), (z + 1, 2, 2)))


def tile() -> m.TilePredicted:
    box = Box((0, 0, 0), (1, 8, 8))
    labels = np.ones(box.shape, np.uint8)
    return m.TilePredicted(Tile((0, 0, 0), box, 1, labels, (1,), labels[None]))


def test_of_views_only_the_newest_waits_and_the_rest_stays_in_order() -> None:
    inbox = Inbox()
    for command in (view(1), m.Train(), view(2), m.Pause()):
        inbox.put(command)
    assert inbox.take(wait=0) == [m.Train(), view(2), m.Pause()]
    assert inbox.take(wait=0) == []


def test_shutdown_goes_before_everything() -> None:
    inbox = Inbox()
    inbox.put(m.Train())
    inbox.put(m.Shutdown())
    assert inbox.urgent
    assert inbox.take(wait=0) == [m.Shutdown()]


def test_a_waiting_engine_wakes_up_for_a_command() -> None:
    inbox = Inbox()
    got: list[m.Command] = []
    thread = threading.Thread(target=lambda: got.extend(inbox.take(wait=None)))
    thread.start()
    inbox.put(m.Train())
    thread.join(10)
    assert got == [m.Train()]


def test_tiles_wait_until_there_is_room() -> None:
    outbox = Outbox(100, lambda: False)
    outbox.put(tile())
    second_in = threading.Event()

    def put_second() -> None:
        outbox.put(tile())
        second_in.set()

    thread = threading.Thread(target=put_second)
    thread.start()
    assert not second_in.wait(0.15)
    assert len(outbox.drain(1)) == 1
    assert second_in.wait(10)
    thread.join()


def test_a_full_outbox_does_not_hold_up_shutdown() -> None:
    outbox = Outbox(1, lambda: True)
    outbox.put(tile())
    outbox.put(tile())
    assert len(outbox.drain(9)) == 2


def test_when_nobody_fetches_a_row_of_steps_shrinks_to_its_newest() -> None:
    outbox = Outbox(1, lambda: False)
    for step in range(UNREAD + 50):
        outbox.put(m.Stepped(step, 0.0, 1.0))
    outbox.put(m.ModelForgotten())
    events = outbox.drain(10**6)
    assert len(events) <= UNREAD + 2
    assert events[-2] == m.Stepped(UNREAD + 49, 0.0, 1.0)


def test_endings_are_never_reduced() -> None:
    outbox = Outbox(1, lambda: False)
    for step in range(UNREAD + 5):
        outbox.put(m.Stepped(step, 0.0, 1.0))
    endings = [m.TurnEnded("region", "finished", job=job) for job in range(3)]
    rows = [m.RegionProgress(job, 1, 2) for job in (7, 8, 8)]
    for event in (*endings, *rows):
        outbox.put(event)
    events = outbox.drain(10**6)
    assert [e for e in events if isinstance(e, m.TurnEnded)] == endings
    assert events[-2:] == rows[:2]
