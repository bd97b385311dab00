from alerting.economics import JobCosts
from alerting.job_book import JobBook
from collector.checkpoints import Checkpoint


def told(job: str, *times: tuple[float, float | None]) -> JobBook:
    book = JobBook(JobCosts(interval_s=1000))
    for step, (begin, end) in enumerate(times):
        book = book.seen(Checkpoint(job, step, begin, end))
    return book


def test_of_an_unknown_job_everything_is_assumed():
    state = JobBook().situation("nobody", 100.0)
    assert state.since_checkpoint_s is None
    assert state.costs == JobCosts()


def test_a_job_shows_its_price_its_interval_and_when_it_last_saved():
    book = told("j", (0, 10), (600, 612), (1200, 1210))
    state = book.situation("j", 1500.0)
    assert state.since_checkpoint_s == 290
    assert (state.costs.checkpoint_s, state.costs.interval_s) == (10, 600)
    assert state.costs.assumed == {"recovery_s", "move_s"}


def test_one_checkpoint_tells_no_interval():
    costs = told("j", (0, 10)).situation("j", 20.0).costs
    assert (costs.interval_s, "interval_s" in costs.assumed) == (1000, True)


def test_a_save_that_has_only_begun_is_none_yet():
    assert told("j", (0, None)).situation("j", 20.0).since_checkpoint_s is None


def test_a_repeat_and_any_order_give_the_same():
    times = [(0.0, 10.0), (600.0, 612.0), (1200.0, 1210.0)]
    assert told("j", *times, times[0]).situation("j", 1500.0) == told("j", *reversed(times)).situation(
        "j", 1500.0
    )


def test_what_comes_after_the_moment_is_not_known_at_it():
    assert told("j", (0, 10), (600, 612)).situation("j", 605.0).since_checkpoint_s == 595
