"""The consumer against a real broker (semantics rule 21).

Partitions come and go in the middle of polls.
"""

from __future__ import annotations

import time
import uuid

import pytest
from kafka import KafkaAdminClient

from workbench.online.streaming.kafka_consumer import Consumer, configured

pytestmark = pytest.mark.slow


@pytest.fixture
def admin(kafka):
    with KafkaAdminClient(bootstrap_servers=kafka.servers) as client:
        yield client


@pytest.fixture
def member(kafka):
    """A function that adds members to a group, which leave when the test is over."""
    members = []

    def make(name, group):
        options = {
            "metadata_max_age_ms": 500,
            "heartbeat_interval_ms": 200,
            "session_timeout_ms": 6000,
        }
        members.append(
            Consumer(
                configured(kafka.servers, options),
                [name],
                lambda places, _: dict.fromkeys(places),
                lambda _: None,
                group=group,
            )
        )
        return members[-1]

    yield make
    for one in members:
        one.close()


def topic(admin, partitions):
    name = f"consuming-{uuid.uuid4().hex[:8]}"
    admin.create_topics({name: {"num_partitions": partitions, "replication_factor": 1}})
    return name


def settled(counts, members, turn, seconds=60):
    """Return the partitions of each member once each has as many as it should.

    Members poll in turns of so many seconds.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and counts != [len(m.positions) for m in members]:
        for member in members:
            member.poll(turn)
    return [{partition for _, partition in m.positions} for m in members]


# a poll of a thousandth is over before a join is, one of a tenth about as often as not
@pytest.mark.parametrize("turn", [0, 0.001, 0.1])
def test_a_join_that_outlasts_its_poll_is_finished_by_a_later_one(admin, member, turn):
    name = topic(admin, 2)
    one = member(name, name)

    before = settled([2], [one], turn)
    admin.create_partitions({name: 4})
    after = settled([4], [one], turn)

    assert ([{0, 1}], [{0, 1, 2, 3}]) == (before, after)


def test_a_join_that_ends_while_nobody_polls_is_not_begun_anew(admin, member):
    """C8: a member that polls at unlucky moments still gets its partitions.

    The answer to its join was thrown away, so that it had no partition for ever.
    """
    name = topic(admin, 2)
    one = member(name, name)

    # Each poll is over long before its join, and each join long before the next poll.
    for _ in range(40):
        one.poll(0.001)
        time.sleep(0.25)
        if one.positions:
            break

    assert {(name, 0), (name, 1)} == set(one.positions)


@pytest.mark.parametrize("turn", [0.001, 0.1])
def test_a_group_shares_partitions_that_are_added(admin, member, turn):
    name = topic(admin, 2)
    both = [member(name, name), member(name, name)]

    before = settled([1, 1], both, turn)
    admin.create_partitions({name: 6})
    after = settled([3, 3], both, turn)

    assert {0, 1} == set.union(*before)
    assert ([3, 3], set(range(6))) == ([len(mine) for mine in after], set.union(*after))
