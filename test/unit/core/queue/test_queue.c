/* The queue as its callers see it: receiving and delivering. */
#include "unit/core/queue/content.h"

#include <sys/stat.h>

/* ---- receiving ---- */

static void content_of_any_size_comes_back(void **state)
{
    static const size_t sizes[] = {0, 1, 4096, 65535, 65536, 65537, 131072, 131073, 1000003};
    static const size_t steps[] = {1000, 65536, 200000};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(sizes) * ARRAY_LEN(steps); i++) {
        size_t size = sizes[i % ARRAY_LEN(sizes)];
        struct envelope *e = sample(f, "s@example.org", 1);
        struct queue_writer *w = queue_begin(f->queue, e->qid);
        struct answer a = {.f = f};

        write_pattern(w, size, steps[i / ARRAY_LEN(sizes)]);
        assert_int_equal(queue_written(w), size);
        queue_commit(&w, &f->scope, e, on_status, &a);
        await(&a);
        assert_int_equal(a.status, OP_OK);
        check_pattern(f, e->qid, size);
        assert_true(load(f, NOW()).count == i + 1);
    }
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM incoming"), 0);
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM message WHERE size = 1000003 AND pieces = 16"), 3);
}

static void reading_past_the_end_and_unknown_messages(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = commit_sample(f, 1);
    struct content c = read_piece(f, qid, 1);

    assert_int_equal(c.answer.status, OP_OK);
    assert_int_equal(c.n, 0);
    assert_true(c.last);
    c = read_piece(f, qid + 1, 0);
    assert_int_equal(c.answer.status, OP_TEMPFAIL);
    assert_int_equal(c.answer.why.cls, STATUS_TEMPFAIL);
    fixture_sql(f, "DELETE FROM body");
    c = read_piece(f, qid, 0);
    assert_int_equal(c.answer.status, OP_TEMPFAIL);
    assert_non_null(strstr(c.answer.why.text, "damaged"));
}

static void envelope_comes_back(void **state)
{
    struct fixture *f = *state;
    struct envelope *e = sample(f, "", 2);
    struct status s;
    struct due d;

    e->rcpts[0].orig = "alias@example.com";
    e->rcpts[0].orcpt = "rfc822;x+y@example.com";
    e->rcpts[0].notify = ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_DELAY;
    e->helo = "helo.example.com";
    e->envid = "QQ314159";
    e->ret = ENVELOPE_RET_HDRS;
    e->body_8bit = true;
    s = commit(f, e, "body\n");
    assert_true(status_is_ok(&s));
    fixture_reopen(f);
    d = load(f, NOW());
    assert_int_equal(d.count, 1);
    assert_int_equal(d.first->qid, e->qid);
    assert_int_equal(d.first->arrival_us, e->arrival_us);
    assert_true(d.first->queued_us >= e->arrival_us && d.first->queued_us <= NOW());
    assert_int_equal(d.first->size, 5);
    assert_string_equal(d.first->sender, "");
    assert_string_equal(d.first->client_name, "client.example.com");
    assert_string_equal(d.first->client_addr, "192.0.2.1");
    assert_string_equal(d.first->helo, "helo.example.com");
    assert_string_equal(d.first->protocol, "ESMTP");
    assert_string_equal(d.first->envid, "QQ314159");
    assert_int_equal(d.first->ret, ENVELOPE_RET_HDRS);
    assert_true(d.first->body_8bit);
    assert_false(d.first->smtputf8);
    assert_int_equal(d.first->nrcpts, 2);
    assert_string_equal(d.first->rcpts[0].addr, "user0@example.com");
    assert_string_equal(d.first->rcpts[0].orig, "alias@example.com");
    assert_string_equal(d.first->rcpts[0].orcpt, "rfc822;x+y@example.com");
    assert_int_equal(d.first->rcpts[0].notify, ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_DELAY);
    assert_null(d.first->rcpts[1].orig);
    assert_true(d.first->rcpts[0].id != 0 && d.first->rcpts[1].id != d.first->rcpts[0].id);
}

static void aborted_messages_leave_nothing(void **state)
{
    static const size_t sizes[] = {0, 100, 65536, 500000};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct queue_writer *w = queue_begin(f->queue, id_next());

        write_pattern(w, sizes[i], 10000);
        queue_abort(&w);
        assert_null(w);
        queue_abort(&w);
    }
    commit_sample(f, 1); /* comes after all that */
    assert_int_equal(rows(f), 3);
}

struct waiting {
    struct answer answer;
    struct queue_writer *writer;
    size_t seen;
    bool starting;
};

static void on_room(void *arg)
{
    struct waiting *w = arg;

    assert_false(w->starting);
    w->seen = queue_write_pending(w->writer);
    stop_waiting(&w->answer, OP_OK);
}

static void writers_can_wait_for_the_disk(void **state)
{
    struct fixture *f = *state;
    struct waiting w = {.answer.f = f, .writer = queue_begin(f->queue, id_next()), .starting = true};

    write_pattern(w.writer, 2000000, 100000);
    assert_true(queue_write_pending(w.writer) > 0);
    queue_write_wait(w.writer, 100000, on_room, &w);
    w.starting = false;
    await(&w.answer);
    assert_true(w.seen < 100000);
    while (queue_write_pending(w.writer) > 0)
        fixture_sleep(f, 5);
    w.answer.there = false;
    w.starting = true;
    queue_write_wait(w.writer, 1, on_room, &w); /* there is room already: still not inside the call */
    w.starting = false;
    await(&w.answer);
    w.answer.there = false;
    queue_write_wait(w.writer, 1, on_room, &w);
    queue_abort(&w.writer);
    fixture_sleep(f, 20);
    assert_false(w.answer.there); /* dropped by the abort */
}

static size_t offered;
static uint64_t offered_qid;

static void on_offer(void *arg, const struct envelope *e)
{
    struct fixture *f = arg;

    assert_non_null(f);
    assert_int_equal(e->nrcpts, 2);
    assert_int_equal(e->rcpts[0].id, 1);
    assert_int_equal(e->size, 3);
    offered++;
    offered_qid = e->qid;
    loop_stop(f->loop);
}

static void never(void *owner, enum op_status status, const void *result)
{
    (void)owner;
    (void)status;
    (void)result;
    fail_msg("called after the scope was closed");
}

static void a_commit_nobody_waits_for_still_happens(void **state)
{
    struct fixture *f = *state;
    struct envelope *e = sample(f, "s@example.org", 2);
    struct queue_writer *w = queue_begin(f->queue, e->qid);

    offered = 0;
    queue_on_commit(f->queue, on_offer, f);
    queue_write(w, SLICE_LIT("abc"));
    queue_commit(&w, &f->scope, e, never, NULL);
    op_scope_close(&f->scope);
    op_scope_init(&f->scope, "test");
    while (offered == 0)
        loop_run(f->loop);
    assert_int_equal(offered, 1);
    assert_int_equal(offered_qid, e->qid);
    assert_int_equal(load(f, NOW()).count, 1);
}

static size_t finished;

static void count_finished(void *owner, enum op_status status, const void *result)
{
    (void)result;
    assert_int_equal(status, OP_OK);
    finished++;
    loop_stop(((struct fixture *)owner)->loop);
}

static void commits_share_a_transaction(void **state)
{
    struct fixture *f = *state;
    unsigned before = syncs;

    finished = 0;
    for (int i = 0; i < 200; i++) {
        struct envelope *e = sample(f, "s@example.org", 1);
        struct queue_writer *w = queue_begin(f->queue, e->qid);

        queue_write(w, SLICE_LIT("body\n"));
        queue_commit(&w, &f->scope, e, count_finished, f);
    }
    while (finished < 200)
        loop_run(f->loop);
    assert_true(syncs > before);
    assert_true(syncs - before <= 10);
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM rcpt"), 200);
}

static void the_log_is_moved_into_the_database(void **state)
{
    struct fixture *f = *state;
    struct answer a[4];
    struct stat st;
    char path[96];

    for (int round = 0; round < 40; round++) { /* 80 MB in all */
        for (size_t i = 0; i < ARRAY_LEN(a); i++) {
            struct envelope *e = sample(f, "s@example.org", 1);
            struct queue_writer *w = queue_begin(f->queue, e->qid);

            a[i] = (struct answer){.f = f};
            write_pattern(w, 500000, 500000);
            queue_commit(&w, &f->scope, e, on_status, &a[i]);
        }
        for (size_t i = 0; i < ARRAY_LEN(a); i++)
            await(&a[i]);
    }
    snprintf(path, sizeof path, "%s/queue.db-wal", f->directory);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < 24000000);
    snprintf(path, sizeof path, "%s/queue.db", f->directory);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 50000000);
}

static void each_lone_commit_is_on_the_disk_before_its_answer(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 5; i++) {
        unsigned before = syncs;

        commit_sample(f, 1);
        assert_true(syncs > before);
    }
}

/* ---- delivering ---- */

static size_t removed_n;
static uint64_t removed_qid;

static void on_remove(void *arg, uint64_t qid)
{
    (void)arg;
    removed_n++;
    removed_qid = qid;
}

static void results_are_recorded(void **state)
{
    struct fixture *f = *state;
    uint64_t later = NOW() + 600000000, qid = commit_sample(f, 3);
    struct queue_result first[] = {
        {.rcpt_id = 1, .outcome = QUEUE_DELIVERED},
        {.rcpt_id = 2, .outcome = QUEUE_DEFERRED, .next_us = later, .dsn = "4.2.2", .text = "mailbox full"},
        {.rcpt_id = 3, .outcome = QUEUE_DELIVERED},
    };
    struct queue_result second = {.rcpt_id = 2, .outcome = QUEUE_DELIVERED};
    struct answer a;
    struct due d;

    removed_n = 0;
    queue_on_remove(f->queue, on_remove, NULL);
    a = record(f, qid, first, 3);
    assert_int_equal(a.status, OP_OK);
    assert_false(a.removed);
    d = load(f, NOW());
    assert_int_equal(d.count, 0);
    assert_int_equal(d.next_us, later);
    d = load(f, later);
    assert_int_equal(d.nrcpts, 1);
    assert_int_equal(d.first->rcpts[0].attempts, 1);
    assert_int_equal(fixture_sql(f, "SELECT dsn = '4.2.2' AND text = 'mailbox full' FROM rcpt"), 1);
    assert_int_equal(removed_n, 0);
    a = record(f, qid, &second, 1);
    assert_true(a.removed);
    assert_int_equal(removed_n, 1);
    assert_int_equal(removed_qid, qid);
    assert_int_equal(rows(f), 0);
    a = record(f, qid, &second, 1); /* what is gone is gone */
    assert_int_equal(a.status, OP_OK);
    assert_false(a.removed);
}

static void a_large_message_goes_with_its_pieces(void **state)
{
    struct fixture *f = *state;
    struct envelope *e = sample(f, "s@example.org", 1);
    struct queue_writer *w = queue_begin(f->queue, e->qid);
    struct answer a = {.f = f};
    struct queue_result done = {.rcpt_id = 1, .outcome = QUEUE_DELIVERED};

    write_pattern(w, 300000, 300000);
    queue_commit(&w, &f->scope, e, on_status, &a);
    await(&a);
    assert_true(record(f, e->qid, &done, 1).removed);
    assert_int_equal(rows(f), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(content_of_any_size_comes_back),
        TEST(reading_past_the_end_and_unknown_messages),
        TEST(envelope_comes_back),
        TEST(aborted_messages_leave_nothing),
        TEST(writers_can_wait_for_the_disk),
        TEST(a_commit_nobody_waits_for_still_happens),
        TEST(commits_share_a_transaction),
        TEST(the_log_is_moved_into_the_database),
        TEST(each_lone_commit_is_on_the_disk_before_its_answer),
        TEST(results_are_recorded),
        TEST(a_large_message_goes_with_its_pieces),
    };

    faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
