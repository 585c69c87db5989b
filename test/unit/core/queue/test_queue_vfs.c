/*
 * The queue on a disk that fails: each call to the file system in turn, in a scenario with all that the queue does.
 * What was acknowledged is there, what was not is not, the file is sound, and the next mail is taken without reopening.
 */
#include "unit/core/queue/content.h"
#include "unit/core/queue/fault_vfs.h"

#include <limits.h>

#define BIG 70000 /* comes in pieces */

struct outcome {
    uint64_t small, big, done, put_off, given_up;
    bool has_small, has_big, has_done, has_put_off; /* committed */
    bool is_done, is_put_off;                       /* recorded */
};

static struct status commit_pattern(struct fixture *f, uint64_t *qid, size_t size)
{
    struct envelope *e = sample(f, "s@example.org", 2);
    struct queue_writer *w = queue_begin(f->queue, e->qid);
    struct answer a = {.f = f};

    *qid = e->qid;
    write_pattern(w, size, 50000);
    while (queue_write_pending(w) > 0)
        fixture_sleep(f, 1);
    queue_commit(&w, &f->scope, e, on_status, &a);
    await(&a);
    return a.why;
}

static bool commits(struct fixture *f, uint64_t *qid, size_t size)
{
    struct status s = commit_pattern(f, qid, size);

    if (!status_is_ok(&s) && s.reason != STATUS_QUEUE_FULL && s.reason != STATUS_QUEUE_WRITE)
        fail_msg("reason %s", status_reason_name(s.reason));
    return status_is_ok(&s);
}

static void ignore_reads(struct fixture *f, uint64_t qid)
{
    read_piece(f, qid, 0); /* may fail; must not harm */
}

static void run(struct fixture *f, struct outcome *o)
{
    struct queue_result ends[] = {{.rcpt_id = 1, .outcome = QUEUE_DELIVERED},
                                  {.rcpt_id = 2, .outcome = QUEUE_DELIVERED}},
                        later = {.rcpt_id = 1, .outcome = QUEUE_DEFERRED, .next_us = 1, .dsn = "4.0.0", .text = "?"};
    struct queue_writer *w;

    *o = (struct outcome){0};
    o->has_done = commits(f, &o->done, 3000);
    o->has_put_off = commits(f, &o->put_off, 3000);
    o->has_small = commits(f, &o->small, 3000);
    o->has_big = commits(f, &o->big, BIG);
    if (o->has_big)
        ignore_reads(f, o->big);
    o->is_done = o->has_done && record(f, o->done, ends, ARRAY_LEN(ends)).status == OP_OK;
    o->is_put_off = o->has_put_off && record(f, o->put_off, &later, 1).status == OP_OK;
    o->given_up = id_next();
    w = queue_begin(f->queue, o->given_up);
    write_pattern(w, BIG, 50000);
    queue_abort(&w);
    fixture_sleep(f, 1);
}

static long long count_of(struct fixture *f, const char *what, uint64_t qid)
{
    char text[120];

    snprintf(text, sizeof text, "SELECT count(*) FROM %s qid = %llu", what, (unsigned long long)qid);
    return fixture_sql(f, text);
}

static void check_message(struct fixture *f, uint64_t qid, bool there, size_t size)
{
    assert_int_equal(count_of(f, "message WHERE", qid), there);
    assert_int_equal(count_of(f, "rcpt WHERE", qid), there ? 2 : 0);
    if (there)
        check_pattern(f, qid, size);
}

static void check(struct fixture *f, const struct outcome *o)
{
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    check_message(f, o->small, o->has_small, 3000);
    check_message(f, o->big, o->has_big, BIG);
    check_message(f, o->done, o->has_done && !o->is_done, 3000);
    check_message(f, o->put_off, o->has_put_off, 3000);
    assert_int_equal(count_of(f, "rcpt WHERE attempts = 1 AND", o->put_off), o->is_put_off);
    assert_int_equal(count_of(f, "message WHERE", o->given_up), 0);
}

/* In memory where that can be had: what is tested is not the disk. */
static void fresh_directory(struct fixture *f)
{
    snprintf(f->directory, sizeof f->directory, "/dev/shm/mta-queue-XXXXXX");
    if (mkdtemp(f->directory) == NULL)
        fixture_directory(f);
}

/* Fails the calls of these kinds from the n-th on, so many times, for every n. */
static void every_call(struct fixture *f, unsigned calls, int times, int error)
{
    for (int n = 0;; n++) {
        struct outcome o;
        uint64_t qid;
        unsigned fired;

        fixture_close(f);
        fixture_remove(f);
        fresh_directory(f);
        fixture_open(f);
        vfs_fault_set(calls, n, times, error);
        run(f, &o);
        fired = vfs_fault.fired;
        vfs_fault_clear();
        check(f, &o);
        if (!commits(f, &qid, BIG)) /* without reopening */
            fail_msg("after fault %d mail is not taken", n);
        check_message(f, qid, true, BIG);
        fixture_reopen(f);
        check(f, &o);
        check_message(f, qid, true, BIG);
        if (fired == 0) {
            assert_true(n > 0);
            return;
        }
    }
}

static void short_of_space_at_every_write(void **state)
{
    every_call(*state, FAULT_WRITE | FAULT_SHM, INT_MAX, ENOSPC);
}

static void one_write_fails(void **state)
{
    every_call(*state, FAULT_WRITE, 1, EIO);
}

static void one_sync_fails(void **state)
{
    every_call(*state, FAULT_SYNC, 1, EIO);
}

static void every_sync_fails(void **state)
{
    every_call(*state, FAULT_SYNC, INT_MAX, EIO);
}

static void other_calls_fail(void **state)
{
    every_call(*state, FAULT_READ | FAULT_TRUNCATE | FAULT_SIZE | FAULT_OPEN, 1, EIO);
    every_call(*state, FAULT_READ | FAULT_TRUNCATE | FAULT_SIZE | FAULT_OPEN, INT_MAX, EIO);
}

/* Pieces that were written before a failed sync cannot be relied on, even when the next sync succeeds. */
static void a_failed_sync_condemns_what_was_not_on_the_disk(void **state)
{
    struct fixture *f = *state;
    struct envelope *e = sample(f, "s@example.org", 1);
    struct queue_writer *w = queue_begin(f->queue, e->qid);
    struct answer a = {.f = f};
    uint64_t other;

    write_pattern(w, BIG, 50000);
    while (queue_write_pending(w) > 0)
        fixture_sleep(f, 1);
    vfs_fault_set(FAULT_SYNC, 0, 1, EIO);
    commits(f, &other, 3000);
    assert_int_equal(vfs_fault.fired, 1);
    vfs_fault_clear();
    queue_commit(&w, &f->scope, e, on_status, &a);
    await(&a);
    assert_int_equal(a.why.reason, STATUS_QUEUE_WRITE);
    assert_int_equal(count_of(f, "message WHERE", e->qid), 0);
    assert_int_equal(count_of(f, "content WHERE", e->qid), 0);
    assert_true(commits(f, &other, BIG));
}

static void opening_fails_with_a_word_and_without_harm(void **state)
{
    struct fixture *f = *state;
    struct queue_options options = {.directory = f->directory};
    struct outcome o;

    run(f, &o);
    fixture_close(f);
    for (int n = 0; n < 100; n++) {
        struct status why = status_ok();
        unsigned fired;

        f->loop = loop_new();
        vfs_fault_set(FAULT_ALL, n, INT_MAX, EIO);
        f->queue = queue_open(f->loop, &options, &why);
        fired = vfs_fault.fired;
        vfs_fault_clear();
        if (f->queue == NULL) {
            assert_true(fired > 0);
            if (strstr(why.text, f->directory) == NULL || strstr(why.text, ": ") == NULL ||
                strchr(why.text, '\n') != NULL)
                fail_msg("\"%s\"", why.text);
        }
        queue_close(&f->queue);
        loop_free(&f->loop);
        fixture_open(f);
        check(f, &o);
        fixture_close(f);
        if (fired == 0)
            break;
        assert_true(n < 99);
    }
    fixture_open(f);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(short_of_space_at_every_write),
        TEST(one_write_fails),
        TEST(one_sync_fails),
        TEST(every_sync_fails),
        TEST(other_calls_fail),
        TEST(a_failed_sync_condemns_what_was_not_on_the_disk),
        TEST(opening_fails_with_a_word_and_without_harm),
    };

    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
