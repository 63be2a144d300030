"""Token buckets."""

from services.access.ratelimit import MAX_CALLERS, RateLimiter


def test_a_minutes_worth_may_be_used_at_once_and_no_more():
    limiter = RateLimiter(60)

    waits = [limiter.take("a", now_s=0.0).wait_s for _ in range(61)]

    assert waits[:60] == [0.0] * 60
    assert waits[60] > 0


def test_the_bucket_fills_with_time():
    limiter = RateLimiter(60)
    for _ in range(61):
        refused = limiter.take("a", now_s=0.0)

    assert limiter.take("a", now_s=refused.wait_s).wait_s == 0.0


def test_callers_do_not_share_a_bucket():
    limiter = RateLimiter(1)
    limiter.take("a", now_s=0.0)

    assert limiter.take("b", now_s=0.0).wait_s == 0.0


def test_anonymous_callers_have_a_limit_of_their_own():
    limiter = RateLimiter(0, anonymous_per_minute=1)
    limiter.take("address", now_s=0.0, anonymous=True)

    assert limiter.take("key", now_s=0.0) is None
    assert limiter.take("address", now_s=0.0, anonymous=True).wait_s > 0


def test_a_clock_that_goes_back_gives_nothing_away():
    limiter = RateLimiter(1)
    limiter.take("a", now_s=100.0)

    assert limiter.take("a", now_s=0.0).wait_s > 0


def test_callers_are_forgotten_before_they_fill_the_memory():
    limiter = RateLimiter(1)
    for number in range(MAX_CALLERS + 10):
        limiter.take(str(number), now_s=0.0)

    assert len(limiter._buckets) == MAX_CALLERS
