/* Back-off, expiry and windows, with clocks that jump. */
#include "unit/core/queue/fixture.h"

#include "core/queue/backoff.h"

#define SECOND 1000000ull
#define NOON   (1700000000 * SECOND)

static void next_attempt(void **state)
{
    /* Postfix's defaults: 300 s and 4000 s */
    static const struct {
        uint64_t age_s, delay_s;
    } cases[] = {{0, 300}, {1, 300}, {299, 300}, {300, 300}, {301, 301}, {3999, 3999}, {4000, 4000}, {432000, 4000}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(backoff_next_us(NOON, NOON - cases[i].age_s * SECOND, 300000, 4000000),
                         NOON + cases[i].delay_s * SECOND);
    /* the clock was set back: the message arrives tomorrow */
    assert_int_equal(backoff_next_us(NOON, NOON + 86400 * SECOND, 300000, 4000000), NOON + 300 * SECOND);
    /* minimal above maximal: minimal wins, as in Postfix */
    assert_int_equal(backoff_next_us(NOON, NOON - 5 * SECOND, 9000, 7000), NOON + 9 * SECOND);
}

static void expiry(void **state)
{
    (void)state;
    assert_false(backoff_expired(NOON, NOON, 1));
    assert_true(backoff_expired(NOON, NOON, 0)); /* lifetime 0: one attempt */
    assert_false(backoff_expired(NOON, NOON - 5 * SECOND, 5001));
    assert_true(backoff_expired(NOON, NOON - 5 * SECOND, 5000));
    assert_false(backoff_expired(NOON, NOON + SECOND, 0));
}

static struct backoff_window window(uint32_t initial, uint32_t limit, const char *positive, const char *negative)
{
    struct backoff_window w = {.initial = initial, .limit = limit, .cohort_limit = 1};

    assert_true(backoff_feedback_parse(positive, &w.positive));
    assert_true(backoff_feedback_parse(negative, &w.negative));
    backoff_window_open(&w);
    return w;
}

static void window_opens_with_each_success(void **state)
{
    struct backoff_window w = window(5, 20, "1", "1");

    (void)state;
    assert_int_equal(backoff_window_size(&w), 5);
    backoff_window_success(&w, 5);
    assert_int_equal(backoff_window_size(&w), 6);
    for (int i = 0; i < 30; i++)
        backoff_window_success(&w, 20);
    assert_int_equal(backoff_window_size(&w), 20); /* the limit */
}

static void window_opens_by_its_feedback(void **state)
{
    static const struct {
        const char *feedback;
        uint32_t after16; /* successes, from 4 on */
    } cases[] = {{"1", 20}, {"0.5", 12}, {"0", 4}, {"0.1", 5}, {"1/concurrency", 6}, {"1 / sqrt_concurrency", 10}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct backoff_window w = window(4, 0, cases[i].feedback, "1");

        for (int k = 0; k < 16; k++)
            backoff_window_success(&w, 100);
        assert_int_equal(backoff_window_size(&w), cases[i].after16);
    }
}

static void window_opens_only_when_used(void **state)
{
    struct backoff_window w = window(2, 0, "1", "1");

    (void)state;
    for (int i = 0; i < 100; i++)
        backoff_window_success(&w, 1);
    assert_int_equal(backoff_window_size(&w), 3);
}

static void window_shuts_after_a_cohort_of_failures(void **state)
{
    struct backoff_window w = window(4, 20, "1", "1");

    (void)state;
    backoff_window_failure(&w); /* 1/4 */
    assert_int_equal(backoff_window_size(&w), 3);
    backoff_window_failure(&w); /* + 1/3 */
    assert_int_equal(backoff_window_size(&w), 2);
    backoff_window_success(&w, 2); /* forgets them */
    assert_int_equal(backoff_window_size(&w), 3);
    backoff_window_failure(&w);
    backoff_window_failure(&w);
    assert_int_equal(backoff_window_size(&w), 1);
    backoff_window_failure(&w); /* 1/3 + 1/2 + 1 */
    assert_int_equal(backoff_window_size(&w), 0);
    backoff_window_success(&w, 1); /* of an attempt that began before */
    assert_int_equal(backoff_window_size(&w), 0);
    backoff_window_failure(&w);
    assert_int_equal(backoff_window_size(&w), 0);
    backoff_window_open(&w);
    assert_int_equal(backoff_window_size(&w), 4);
}

static void more_cohorts_bear_more_failures(void **state)
{
    struct backoff_window w = window(10, 10, "1", "0");

    (void)state;
    w.cohort_limit = 3;
    for (int i = 0; i < 29; i++)
        backoff_window_failure(&w);
    assert_int_equal(backoff_window_size(&w), 10);
    backoff_window_failure(&w);
    assert_int_equal(backoff_window_size(&w), 0);
    w.cohort_limit = 0; /* never */
    backoff_window_open(&w);
    for (int i = 0; i < 1000; i++)
        backoff_window_failure(&w);
    assert_int_equal(backoff_window_size(&w), 10);
}

static void window_limits(void **state)
{
    struct backoff_window w = window(5, 2, "1", "1");

    (void)state;
    assert_int_equal(backoff_window_size(&w), 2);
    w = window(0, 0, "1", "1");
    assert_int_equal(backoff_window_size(&w), 1);
}

static void feedback_texts(void **state)
{
    static const char *const bad[] = {
        "", "x", "-1", "1.5", "1/", "1/size", "/concurrency", "nan", "1 1", "1/concurrency x"};
    struct backoff_feedback f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (backoff_feedback_parse(bad[i], &f))
            fail_msg("\"%s\" was taken", bad[i]);
    assert_true(backoff_feedback_parse(" 0.25 ", &f));
    assert_true(f.amount == 0.25 && f.per == BACKOFF_PER_RESULT);
}

#define MINUTE 60000000ull
#define DAY    86400000000ull

/* A wall clock that jumps, looked at every minute: by how much mail that came at `arrival` has aged at the end. */
static void mail_does_not_age_when_the_clock_jumps(void **unused)
{
    const uint64_t start = 1000 * DAY;
    struct backoff_clock c = {0};
    uint64_t mono_ms = 5000;

    (void)unused;
    assert_int_equal(backoff_clock_look(&c, start, mono_ms), 0);
    assert_int_equal(backoff_clock_look(&c, start + MINUTE + 30000000, mono_ms += 60000),
                     0); /* set right: half a minute */
    assert_int_equal(backoff_clock_look(&c, start + DAY + 2 * MINUTE + 30000000, mono_ms += 60000), DAY);
    assert_int_equal(backoff_clock_arrival_us(&c, start), start + DAY);
    assert_int_equal(backoff_clock_arrival_us(&c, start + DAY + 2 * MINUTE), start + DAY + 2 * MINUTE); /* after it */
    /* once more, by ten days: what came first has seen both */
    assert_int_equal(backoff_clock_look(&c, start + 11 * DAY + 3 * MINUTE + 30000000, mono_ms += 60000), 10 * DAY);
    assert_int_equal(backoff_clock_arrival_us(&c, start), start + 11 * DAY);
    assert_int_equal(backoff_clock_arrival_us(&c, start + DAY + 2 * MINUTE), start + 11 * DAY + 2 * MINUTE);
    /* and back to where it belongs: as if nothing had been */
    assert_int_equal(backoff_clock_look(&c, start + 4 * MINUTE + 30000000, mono_ms += 60000), -(int64_t)(11 * DAY));
    assert_int_equal(backoff_clock_arrival_us(&c, start), start);
    assert_false(backoff_expired(start + 4 * MINUTE, backoff_clock_arrival_us(&c, start), 300000));
    assert_true(backoff_expired(start + 5 * MINUTE, backoff_clock_arrival_us(&c, start), 300000));
}

static void many_jumps_are_bounded(void **unused)
{
    struct backoff_clock c = {0};
    uint64_t wall = 1000 * DAY;

    (void)unused;
    backoff_clock_look(&c, wall, 0);
    for (unsigned i = 1; i <= 3 * BACKOFF_JUMPS; i++)
        assert_int_equal(backoff_clock_look(&c, wall += DAY, 0), DAY);
    assert_int_equal(c.njumps, BACKOFF_JUMPS);
    assert_int_equal(backoff_clock_arrival_us(&c, wall - DAY / 2), wall - DAY / 2);
    assert_int_equal(backoff_clock_arrival_us(&c, wall - DAY - 1), wall - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_attempt),
        cmocka_unit_test(expiry),
        cmocka_unit_test(window_opens_with_each_success),
        cmocka_unit_test(window_opens_by_its_feedback),
        cmocka_unit_test(window_opens_only_when_used),
        cmocka_unit_test(window_shuts_after_a_cohort_of_failures),
        cmocka_unit_test(more_cohorts_bear_more_failures),
        cmocka_unit_test(feedback_texts),
        cmocka_unit_test(window_limits),
        cmocka_unit_test(mail_does_not_age_when_the_clock_jumps),
        cmocka_unit_test(many_jumps_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
