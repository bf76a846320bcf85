"""Rates and fair parts, on the real timer wheel with a clock of the test's."""

import pytest

from portway.engine.bucket import BURST_S, GRANT_BYTES_MAX, LATE_S_MAX, UNUSED_S_MAX, Bucket, Share
from tests.kit.fake_scheduler import Scheduler

RATES = [100, 2_000, 64_000, 1_000_000, 50_000_000, 1_000_000_000]


class Sender:
    """A sender that always has data, or a fixed amount at a time."""

    def __init__(self, scheduler: Scheduler, *buckets: Bucket, piece_bytes: int = 1 << 30) -> None:
        self.scheduler = scheduler
        self.shares = [Share(bucket, self.run) for bucket in buckets]
        self.piece_bytes = piece_bytes
        self.sent = 0
        self.runs = 0

    def run(self) -> None:
        """Send what is allowed; at most the bytes of one turn, like pumps."""
        self.runs += 1
        turn_bytes = 256 * 1024
        while turn_bytes:
            room = min(turn_bytes, self.piece_bytes)
            for share in self.shares:
                credit = share.credit or share.request()
                if not credit:
                    return
                room = min(room, credit)
            for share in self.shares:
                share.credit -= room
            self.sent += room
            turn_bytes -= room
        self.scheduler.call_soon(self.run)

    def release(self) -> None:
        """Release all shares."""
        for share in self.shares:
            share.release()


def fairness(parts: list[int]) -> float:
    """Return Jain's index: 1 when all parts are equal, 1/n when one has everything."""
    return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))


@pytest.mark.parametrize("late_s", [0.0, 0.08])
@pytest.mark.parametrize("rate_bps", RATES)
def test_a_rate_is_met_within_five_per_cent_even_with_late_wake_ups(rate_bps: int, late_s: float) -> None:
    scheduler = Scheduler(late_s)
    sender = Sender(scheduler, Bucket(scheduler, rate_bps))
    sender.run()
    seconds = 4
    scheduler.pass_time(seconds)
    assert 0.95 * rate_bps * seconds <= sender.sent <= 1.05 * rate_bps * seconds
    assert scheduler.fired <= (20 + 1 / UNUSED_S_MAX) * seconds + 1, "nobody wakes up more often than the wheel turns"


@pytest.mark.parametrize("rate_bps", RATES)
@pytest.mark.parametrize("count", [2, 8, 50])
def test_shares_with_more_traffic_than_their_part_get_equal_parts(rate_bps: int, count: int) -> None:
    scheduler = Scheduler(0.02)
    bucket = Bucket(scheduler, rate_bps)
    senders = [Sender(scheduler, bucket) for _ in range(count)]
    for sender in senders:
        sender.run()
    seconds = max(4.0, 40 * count * max(1, min(1024, rate_bps // 20)) / rate_bps)
    scheduler.pass_time(seconds)
    sent = [sender.sent for sender in senders]
    assert 0.95 <= sum(sent) / (rate_bps * seconds) <= 1.05
    assert fairness(sent) > 0.99, sent


def test_a_share_with_less_traffic_gets_it_and_the_others_divide_the_rest() -> None:
    scheduler = Scheduler()
    bucket = Bucket(scheduler, 1_000_000)
    greedy = [Sender(scheduler, bucket) for _ in range(4)]
    modest = Sender(scheduler, bucket, piece_bytes=1000)
    wanted = 0
    for sender in greedy:
        sender.run()
    for _ in range(50):
        scheduler.pass_time(0.1)
        wanted += 1000  # 10 kB/s, a hundredth of what there is
        share = modest.shares[0]
        while modest.sent + 1000 <= wanted and (share.credit or share.request()) >= 1000:
            share.credit -= 1000
            modest.sent += 1000
    scheduler.pass_time(1.0)
    assert modest.sent >= 45_000
    assert fairness([sender.sent for sender in greedy]) > 0.99
    assert sum(sender.sent for sender in greedy) + modest.sent >= 0.95 * 6_000_000


def test_a_relay_of_two_buckets_is_served_by_both_and_starves_in_neither() -> None:
    scheduler = Scheduler(0.02)
    whole = Bucket(scheduler, 1_000_000)
    narrow = Bucket(scheduler, 300_000)
    inside = [Sender(scheduler, narrow, whole) for _ in range(3)]
    outside = [Sender(scheduler, whole) for _ in range(2)]
    for sender in [*inside, *outside]:
        sender.run()
    scheduler.pass_time(10.0)
    assert 0.95 * 3_000_000 <= sum(sender.sent for sender in inside) <= 1.05 * 3_000_000
    assert 0.95 * 10_000_000 <= sum(sender.sent for sender in [*inside, *outside]) <= 1.05 * 10_000_000
    assert fairness([sender.sent for sender in inside]) > 0.99
    assert fairness([sender.sent for sender in outside]) > 0.99


def test_a_pause_saves_up_a_tenth_of_a_second_and_no_more() -> None:
    scheduler = Scheduler()
    bucket = Bucket(scheduler, 1_000_000)
    scheduler.pass_time(3600.0)
    sender = Sender(scheduler, bucket)
    sender.run()
    scheduler.settle()
    assert sender.sent == BURST_S * 1_000_000


def test_a_suspended_process_grants_at_most_a_second_of_the_rate_afterwards() -> None:
    scheduler = Scheduler()
    bucket = Bucket(scheduler, 1_000_000)
    sender = Sender(scheduler, bucket)
    sender.run()
    scheduler.settle()
    before = sender.sent
    scheduler.now += 3600.0
    scheduler.pass_time(0.0)
    assert sender.sent - before <= LATE_S_MAX * 1_000_000


def test_a_released_share_returns_its_place_and_its_unused_credit() -> None:
    scheduler = Scheduler()
    bucket = Bucket(scheduler, 100_000)
    first, second = Sender(scheduler, bucket), Share(bucket, lambda: None)
    assert second.request() == 2500
    first.run()
    scheduler.settle()
    assert bucket.waiting == 1
    first.release()
    assert bucket.waiting == 0
    second.release()
    second.release()
    assert scheduler.next_deadline is None, "no timer for nobody"
    third = Share(bucket, lambda: None)
    assert third.request() == 2500, "what was not used is there for others, once"


def test_a_bucket_without_waiting_shares_and_credit_has_no_timer() -> None:
    scheduler = Scheduler()
    share = Share(Bucket(scheduler, 10_000_000), lambda: None)
    assert 0 < share.request() <= GRANT_BYTES_MAX
    scheduler.pass_time(3 * UNUSED_S_MAX)
    assert share.credit == 0
    assert scheduler.next_deadline is None
    assert share.request() > 0


def test_unused_credit_is_reclaimed_from_idle_shares() -> None:
    scheduler = Scheduler(0.02)
    bucket = Bucket(scheduler, 1_000_000)
    crowd = [Sender(scheduler, bucket) for _ in range(200)]
    for sender in crowd:
        (share,) = sender.shares
        while not (share.credit or share.request()):
            scheduler.pass_time(0.05)
        share.credit -= 1
        scheduler.pass_time(0.05)
    scheduler.pass_time(3 * UNUSED_S_MAX)
    for sender in crowd:
        sender.run()
    scheduler.pass_time(2.0)
    assert 0.95 * 2_000_000 <= sum(sender.sent for sender in crowd) <= 1_000_000 * (2.0 + BURST_S)


def test_unused_credit_is_reclaimed_from_a_share_that_waited() -> None:
    scheduler = Scheduler()
    bucket = Bucket(scheduler, 1_000_000)
    greedy = Sender(scheduler, bucket)
    share = Share(bucket, lambda: None)
    assert share.request() == 25_000
    share.credit -= 10
    scheduler.pass_time(1.5 * UNUSED_S_MAX)
    assert share.credit == 20, "twice what he used"
    greedy.run()
    scheduler.settle()
    share.credit = 0
    assert share.request() == 0
    scheduler.pass_time(0.2)
    assert share.credit > 0
    scheduler.pass_time(3 * UNUSED_S_MAX)
    assert share.credit == 0


def test_rarely_used_credit_does_not_reduce_the_parts_of_others() -> None:
    scheduler = Scheduler()
    bucket = Bucket(scheduler, 1_000_000)
    greedy = Sender(scheduler, bucket)
    chatty = [Share(bucket, lambda: None) for _ in range(20)]
    greedy.run()
    said = 0
    for _ in range(100):
        scheduler.pass_time(0.1)
        for share in chatty:
            if share.credit or share.request():
                share.credit -= 10
                said += 10
    assert said >= 0.9 * 100 * 20 * 10
    assert greedy.sent >= 0.9 * 10_000_000


def test_ten_thousand_waiting_shares_use_one_timer_and_are_served_in_turn() -> None:
    scheduler = Scheduler()
    bucket = Bucket(scheduler, 1_000_000)
    senders = [Sender(scheduler, bucket) for _ in range(10_000)]
    for sender in senders:
        sender.run()
    scheduler.settle()
    assert bucket.waiting >= 9_900
    scheduler.pass_time(12.0)
    assert max(sender.runs for sender in senders) - min(sender.runs for sender in senders) <= 2
    assert scheduler.fired <= (20 + 1 / UNUSED_S_MAX) * 12 + 1
