"""The conversation between a page and its kernel, without a browser.

Tests say what is refused, what is superseded, and that nobody waits.
"""

from __future__ import annotations

import queue
import threading
import time

import pytest

from workbench.html.markup import Markup
from workbench.live import Conversation, RefusedError, Reply


class Slow:
    """A subject that answers when a test lets it, as a busy engine does.

    `stop` makes what runs fail, as a cancel does.
    """

    kinds = {"look": {"at": int, "name": str}, "fail": {}}  # noqa: RUF012

    def __init__(self) -> None:
        self.gates: queue.Queue[threading.Event] = queue.Queue()
        self.stopped, self.asked, self.running = [], [], None

    def answer(self, request, push):
        self.asked.append(request.params)
        if request.kind == "fail":
            message = "the source has no rows: load it"
            raise RefusedError(message)
        gate = self.running = threading.Event()
        gate.cancelled = False
        self.gates.put(gate)
        assert gate.wait(60)
        if gate.cancelled:
            message = "interrupted"
            raise RuntimeError(message)
        push(Reply({"grid": Markup("<b>half</b>")}))
        return Reply({"detail": Markup(str(request.params))}, say="done")

    def close(self):
        self.closed = True

    def stop(self, slot):
        self.stopped.append(slot)
        self.running.cancelled = True
        self.running.set()


@pytest.fixture
def talk():
    sent = queue.Queue()
    subject = Slow()
    conversation = Conversation(subject, sent.put)
    yield subject, conversation, lambda seconds=60: sent.get(timeout=seconds)
    conversation.close()


def ask(number, kind="look", slot="view", **params):
    return {"v": 1, "id": number, "slot": slot, "kind": kind, "params": params}


def test_a_request_is_acknowledged_then_answered_part_by_part(talk):
    subject, conversation, heard = talk

    conversation.receive(ask(1, at=3))
    subject.gates.get(timeout=60).set()

    assert {"v": 1, "id": 1, "slot": "view", "ack": True} == heard()
    first, last = heard(), heard()
    assert ({"grid": "<b>half</b>"}, False) == (first["parts"], first["done"])
    assert ({"detail": "{'at': 3}"}, True, "done") == (last["parts"], last["done"], last["say"])


def test_the_newest_of_a_slot_wins_and_the_older_one_is_cancelled(talk):
    subject, conversation, heard = talk

    for number in (1, 2, 3):
        conversation.receive(ask(number, at=number))
        if number == 1:
            subject.gates.get(timeout=60)
    subject.gates.get(timeout=60).set()

    replies = [heard() for _ in range(5)]
    assert [1, 2, 3, 3, 3] == [r["id"] for r in replies]
    assert [{"at": 1}, {"at": 3}] == subject.asked
    assert {"view"} == set(subject.stopped)


def test_slots_do_not_wait_for_each_other(talk):
    subject, conversation, heard = talk
    conversation.receive(ask(1, at=1, slot="view"))
    held = subject.gates.get(timeout=60)

    conversation.receive(ask(2, at=2, slot="guards"))
    subject.gates.get(timeout=60).set()

    assert [1, 2, 2, 2] == [heard()["id"] for _ in range(4)]
    held.set()


def test_a_cancel_ends_what_runs_and_says_so(talk):
    subject, conversation, heard = talk
    conversation.receive(ask(1, at=1))
    subject.gates.get(timeout=60)

    conversation.receive(ask(2, kind="cancel"))

    told = [heard() for _ in range(3)]
    assert "cancelled" == told[-1]["say"]
    assert ["view"] == subject.stopped
    assert all(t.get("error") is None for t in told)


def test_a_request_is_taken_at_once_while_the_engine_is_blocked(talk):
    subject, conversation, heard = talk
    conversation.receive(ask(1, at=1))
    gate = subject.gates.get(timeout=60)

    began = time.perf_counter()
    for number in range(2, 52):
        conversation.receive(ask(number, at=number, slot=f"slot{number}"))
    took = (time.perf_counter() - began) / 50

    assert 51 == sum(heard().get("ack", False) for _ in range(51))
    print(
        f"a request was taken in {took * 1e3:.2f} ms while the engine was blocked; 50 are the bound"
    )
    gate.set()
    conversation.close()
    while subject.gates.qsize():
        subject.gates.get().set()


def test_an_error_is_an_answer_in_one_sentence(talk):
    _, conversation, heard = talk

    conversation.receive(ask(1, kind="fail"))

    heard()
    told = heard()
    assert (False, "the source has no rows: load it") == (told["ok"], told["error"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "exactly the fields"),
        ([1], "exactly the fields"),
        ({"v": 1}, "exactly the fields"),
        ({**ask(1), "sql": "drop table x"}, "exactly the fields"),
        ({**ask(1), "v": 2}, "version"),
        (ask(0), "positive number"),
        (ask(True), "positive number"),
        (ask(1, slot="a b"), "its slot a name"),
        (ask(1, kind="exec"), "there is no request 'exec'"),
        (ask(1, kind=["look"]), "there is no request"),
        (ask(1, sql="drop table x"), "no parameter 'sql'"),
        (ask(1, at="1; drop table x"), "at is no str"),
        (ask(1, at=True), "at is no bool"),
        (ask(1, at=1.5), "at is no float"),
        (ask(1, name="x" * 1001), "1,001 characters"),
        (ask(1, name="x" * 20_000), "16,384 bytes"),
        ({**ask(1), "params": {"name": b"x"}}, "is JSON"),
    ],
)
def test_what_is_no_request_is_refused_with_a_sentence(talk, content, said):
    subject, conversation, heard = talk

    conversation.receive(content)

    told = heard()
    assert not told["ok"]
    assert said in told["error"]
    assert not subject.asked


def test_a_closed_conversation_answers_nothing(talk):
    subject, conversation, heard = talk
    conversation.receive(ask(1, at=1))
    subject.gates.get(timeout=60)
    heard()

    conversation.close()

    assert ["view"] == subject.stopped
    with pytest.raises(queue.Empty):
        heard(0.2)


class Echo:
    kinds = {"look": {"at": int}}  # noqa: RUF012

    def answer(self, request, _push):
        return Reply({"grid": Markup(f"<i>{request.params['at']}</i>")})

    def stop(self, slot):
        pass

    def close(self):
        pass


def test_the_widget_syncs_its_page_once_and_answers_by_messages(monkeypatch):
    from workbench.live.widget import LiveWidget

    sent = queue.Queue()
    monkeypatch.setattr(LiveWidget, "send", lambda self, content, buffers=None: sent.put(content))

    widget = LiveWidget(Echo(), "<section class=fw></section>")
    widget._handle_custom_msg(ask(1, at=7), [])  # noqa: SLF001 how a comm gives it

    assert sent.get(timeout=60)["ack"]
    assert {"grid": "<i>7</i>"} == sent.get(timeout=60)["parts"]
    state = widget.get_state()
    assert "<section class=fw></section>" == state["page"]
    assert len(str({k: v for k, v in state.items() if k != "page"})) < 40_000
    assert repr(widget) == repr(LiveWidget(Echo(), ""))
    widget.close()


def test_the_oldest_views_at_rest_give_way_and_let_go_of_what_they_hold(monkeypatch):
    from workbench.live import showing
    from workbench.live.widget import LiveWidget

    monkeypatch.setattr(LiveWidget, "send", lambda self, content, buffers=None: None)
    made = [LiveWidget(Slow(), "") for _n in range(showing.MAX_LIVE_VIEWS)]
    monkeypatch.setattr(showing, "LIVE", type(showing.LIVE)(made))
    made[0].conversation.receive(ask(1, at=1))
    made[0].conversation.subject.gates.get(timeout=60)

    showing._make_room()  # noqa: SLF001 what a display does first

    assert [made[0], *made[2:]] == list(showing.LIVE)
    assert made[1].conversation.subject.closed
    assert not hasattr(made[0].conversation.subject, "closed")
    made[0].close()
    assert made[0].conversation.subject.closed
