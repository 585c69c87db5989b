/* The queue as its callers see it: receiving, delivering, faults, crashes. */
#include "unit/core/queue/fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- helpers ---- */

struct content {
    struct answer answer;
    char *bytes; /* in the fixture's arena */
    size_t n;
    bool last;
};

static void on_piece(void *owner, enum op_status status, const void *result)
{
    struct content *c = owner;
    const struct queue_piece *piece = result;

    if (status == OP_OK) {
        c->bytes = arena_slice_dup(&c->answer.f->arena, piece->bytes);
        c->n = piece->bytes.n;
        c->last = piece->last;
    } else {
        c->answer.why = *(const struct status *)result;
    }
    stop_waiting(&c->answer, status);
}

static struct content read_piece(struct fixture *f, uint64_t qid, unsigned index)
{
    struct content c = {.answer.f = f};

    queue_read(f->queue, &f->scope, qid, index, on_piece, &c);
    await(&c.answer);
    return c;
}

static char byte_at(size_t i)
{
    return (char)('a' + (i * 7 + i / 65536) % 26);
}

static void write_pattern(struct queue_writer *w, size_t size, size_t step)
{
    char *part = mem_new(step);

    for (size_t at = 0; at < size;) {
        size_t n = size - at < step ? size - at : step;

        for (size_t i = 0; i < n; i++)
            part[i] = byte_at(at + i);
        queue_write(w, slice_make(part, n));
        at += n;
    }
    mem_free(part);
}

static void check_pattern(struct fixture *f, uint64_t qid, size_t size)
{
    size_t at = 0;

    for (unsigned index = 0;; index++) {
        struct content c = read_piece(f, qid, index);

        assert_int_equal(c.answer.status, OP_OK);
        for (size_t i = 0; i < c.n; i++)
            if (c.bytes[i] != byte_at(at + i))
                fail_msg("byte %zu of %zu differs", at + i, size);
        at += c.n;
        if (c.last)
            break;
    }
    assert_int_equal(at, size);
}

struct due {
    struct answer answer;
    size_t count, nrcpts, nfailed;
    uint64_t next_us;
    const struct envelope *first; /* in the fixture's arena */
};

static void on_due(void *owner, enum op_status status, const void *result)
{
    struct due *d = owner;
    const struct queue_batch *batch = result;

    assert_int_equal(status, OP_OK);
    d->count = batch->count;
    d->nfailed = batch->nfailed;
    d->next_us = batch->next_due_us;
    for (size_t i = 0; i < batch->count; i++)
        d->nrcpts += batch->messages[i]->nrcpts;
    if (batch->count > 0)
        d->first = envelope_copy(&d->answer.f->arena, batch->messages[0]);
    stop_waiting(&d->answer, status);
}

static struct due load(struct fixture *f, uint64_t now_us)
{
    struct queue_due query = {.now_us = now_us, .horizon_us = now_us + 3600000000, .limit = 1000000, .failed = true};
    struct due d = {.answer.f = f};

    queue_load_due(f->queue, &f->scope, &query, on_due, &d);
    await(&d.answer);
    return d;
}

static long long rows(struct fixture *f)
{
    return fixture_sql(f, "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM body)"
                          " + (SELECT count(*) FROM content) + (SELECT count(*) FROM incoming)"
                          " + (SELECT count(*) FROM rcpt)");
}

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

struct failures {
    struct answer answer;
    size_t count;
    char text[64], dsn[16], addr[64], sender[64];
    uint64_t ids[8], failed_us;
};

static void on_failures(void *owner, enum op_status status, const void *result)
{
    struct failures *x = owner;
    const struct queue_failed *failed = result;

    x->count = 0;
    if (status == OP_OK) {
        x->count = failed->count;
        snprintf(x->sender, sizeof x->sender, "%s", failed->message->sender);
        for (size_t i = 0; i < failed->count; i++)
            x->ids[i] = failed->failures[i].rcpt.id;
        if (failed->count > 0) {
            snprintf(x->text, sizeof x->text, "%s", failed->failures[0].text);
            snprintf(x->dsn, sizeof x->dsn, "%s", failed->failures[0].dsn);
            snprintf(x->addr, sizeof x->addr, "%s", failed->failures[0].rcpt.addr);
            x->failed_us = failed->failures[0].failed_us;
        }
    }
    stop_waiting(&x->answer, status);
}

static struct failures load_failed(struct fixture *f, uint64_t qid)
{
    struct failures x = {.answer.f = f};

    queue_load_failed(f->queue, &f->scope, qid, on_failures, &x);
    await(&x.answer);
    return x;
}

static uint64_t message_with_two_failures(struct fixture *f)
{
    uint64_t qid = commit_sample(f, 3);
    struct queue_result results[] = {
        {.rcpt_id = 1, .outcome = QUEUE_FAILED, .dsn = "5.1.1", .text = "no such user"},
        {.rcpt_id = 2, .outcome = QUEUE_DELIVERED},
        {.rcpt_id = 3, .outcome = QUEUE_FAILED, .dsn = "5.2.2", .text = "full"},
    };

    assert_false(record(f, qid, results, 3).removed);
    return qid;
}

static void failed_recipients_wait_for_their_report(void **state)
{
    struct fixture *f = *state;
    uint64_t before = NOW(), qid = message_with_two_failures(f);
    struct failures x;
    struct due d;

    fixture_reopen(f);
    d = load(f, NOW());
    assert_int_equal(d.count, 0);
    assert_int_equal(d.nfailed, 1);
    x = load_failed(f, qid);
    assert_int_equal(x.count, 2);
    assert_string_equal(x.dsn, "5.1.1");
    assert_string_equal(x.text, "no such user");
    assert_string_equal(x.addr, "user0@example.com");
    assert_string_equal(x.sender, "sender@example.org");
    assert_true(x.failed_us >= before && x.failed_us <= NOW());
    assert_int_equal(load_failed(f, qid + 1).answer.status, OP_TEMPFAIL);
}

static void report_and_removal_are_one_transaction(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = message_with_two_failures(f);
    struct failures x = load_failed(f, qid);
    struct envelope *e = sample(f, "", 2);
    struct queue_writer *w = queue_begin(f->queue, e->qid);
    struct answer a = {.f = f};

    offered = removed_n = 0;
    queue_on_commit(f->queue, on_offer, f);
    queue_on_remove(f->queue, on_remove, NULL);
    queue_write(w, SLICE_LIT("dsn"));
    queue_commit_report(f->queue, &f->scope, qid, x.ids, x.count, &w, e, on_status, &a);
    assert_null(w);
    await(&a);
    assert_int_equal(a.status, OP_OK);
    assert_int_equal(offered, 1);
    assert_int_equal(offered_qid, e->qid);
    assert_int_equal(removed_n, 1);
    assert_int_equal(removed_qid, qid);
    assert_int_equal(load(f, NOW()).count, 1);
    assert_int_equal(load(f, NOW()).nfailed, 0);
}

static void without_a_report_they_are_just_removed(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = message_with_two_failures(f), one = 3;
    struct answer a = {.f = f};

    queue_commit_report(f->queue, &f->scope, qid, &one, 1, NULL, NULL, on_status, &a);
    await(&a);
    assert_int_equal(a.status, OP_OK);
    assert_int_equal(load_failed(f, qid).count, 1);
    a.there = false;
    one = 1;
    queue_commit_report(f->queue, &f->scope, qid, &one, 1, NULL, NULL, on_status, &a);
    await(&a);
    assert_int_equal(rows(f), 0);
}

static void a_report_that_fails_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = message_with_two_failures(f);
    struct failures x = load_failed(f, qid);
    struct envelope *e = sample(f, "", 1);
    struct queue_writer *w = queue_begin(f->queue, e->qid);
    struct answer a = {.f = f};

    fault_countdown = 0;
    fault_errno = EIO;
    queue_write(w, SLICE_LIT("dsn"));
    queue_commit_report(f->queue, &f->scope, qid, x.ids, x.count, &w, e, on_status, &a);
    await(&a);
    assert_int_equal(a.status, OP_TEMPFAIL);
    fault_errno = 0;
    assert_int_equal(load_failed(f, qid).count, 2);
    assert_int_equal(load(f, NOW()).count, 0);
}

/* ---- faults ---- */

static void faults_are_answered_and_pass(void **state)
{
    static const struct {
        int error;
        enum status_reason reason;
    } cases[] = {{ENOSPC, STATUS_QUEUE_FULL},
                 {EDQUOT, STATUS_QUEUE_FULL},
                 {EFBIG, STATUS_QUEUE_FULL},
                 {EIO, STATUS_QUEUE_WRITE}};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct envelope *e = sample(f, "s@example.org", 1);
        struct status s;

        log_forget();
        fault_countdown = 0;
        fault_errno = cases[i].error;
        s = commit(f, e, "body\n");
        assert_int_equal(s.reason, cases[i].reason);
        s = commit(f, sample(f, "s@example.org", 1), "body\n");
        assert_int_equal(s.reason, cases[i].reason);
        assert_int_equal(log_count("error: queue database"), 1); /* not one for each */
        fault_errno = 0;
        s = commit(f, e, "body\n"); /* recovers by itself, and nothing of the first try is left */
        assert_true(status_is_ok(&s));
        assert_int_equal(log_count("works again"), 1);
        assert_int_equal(load(f, NOW()).count, i + 1);
    }
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

static void everyone_who_waits_hears_of_a_fault(void **state)
{
    struct fixture *f = *state;
    struct answer answers[50];

    fault_countdown = 3; /* in the middle */
    fault_errno = ENOSPC;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct envelope *e = sample(f, "s@example.org", 1);
        struct queue_writer *w = queue_begin(f->queue, e->qid);

        answers[i] = (struct answer){.f = f};
        queue_write(w, SLICE_LIT("body\n"));
        queue_commit(&w, &f->scope, e, on_status, &answers[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        await(&answers[i]);
        assert_int_equal(answers[i].why.reason, STATUS_QUEUE_FULL);
    }
    fault_errno = 0;
    assert_int_equal(load(f, NOW()).count, 0);
    commit_sample(f, 1);
}

static void one_bad_commit_does_not_take_down_others(void **state)
{
    struct fixture *f = *state;
    uint64_t taken = commit_sample(f, 1);
    struct answer answers[20];

    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct envelope *e = sample(f, "s@example.org", 1);
        struct queue_writer *w;

        if (i == 10)
            e->qid = taken; /* breaks a constraint */
        w = queue_begin(f->queue, e->qid);
        answers[i] = (struct answer){.f = f};
        queue_write(w, SLICE_LIT("body\n"));
        queue_commit(&w, &f->scope, e, on_status, &answers[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        await(&answers[i]);
        assert_int_equal(answers[i].why.reason, i == 10 ? STATUS_QUEUE_WRITE : STATUS_NONE);
    }
    assert_int_equal(load(f, NOW()).count, 20);
}

static void a_piece_that_failed_fails_the_commit(void **state)
{
    struct fixture *f = *state;
    struct envelope *e = sample(f, "s@example.org", 1);
    struct queue_writer *w = queue_begin(f->queue, e->qid);
    struct answer a = {.f = f};

    write_pattern(w, 150000, 150000); /* two pieces away, one waits */
    while (queue_write_pending(w) > 0)
        fixture_sleep(f, 5);
    assert_null(queue_writer_failed(w));
    fault_countdown = 0;
    fault_errno = ENOSPC;
    write_pattern(w, 150000, 150000);
    while (queue_write_pending(w) > 0)
        fixture_sleep(f, 5);
    assert_non_null(queue_writer_failed(w));
    assert_int_equal(queue_writer_failed(w)->reason, STATUS_QUEUE_FULL);
    fault_errno = 0;
    write_pattern(w, 150000, 150000); /* too late */
    assert_int_equal(queue_written(w), 450000);
    queue_commit(&w, &f->scope, e, on_status, &a);
    await(&a);
    assert_int_equal(a.status, OP_TEMPFAIL);
    assert_int_equal(a.why.reason, STATUS_QUEUE_FULL);
    assert_int_equal(rows(f), 0);
}

static void litter_of_a_full_disk_is_removed_later(void **state)
{
    struct fixture *f = *state;
    struct queue_writer *w = queue_begin(f->queue, id_next());

    write_pattern(w, 150000, 150000);
    while (queue_write_pending(w) > 0)
        fixture_sleep(f, 5);
    fault_countdown = 0;
    fault_errno = ENOSPC;
    queue_abort(&w);
    fixture_sleep(f, 50);
    fault_errno = 0;
    assert_true(rows(f) > 0);
    for (int i = 0; i < 200 && rows(f) > 0; i++) /* by the upkeep, some seconds later */
        fixture_sleep(f, 50);
    assert_int_equal(rows(f), 0);
}

static void results_can_be_recorded_on_a_full_disk(void **state)
{
    struct fixture *f = *state;
    uint64_t qids[20];
    struct queue_result done = {.rcpt_id = 1, .outcome = QUEUE_DELIVERED};
    struct rlimit was, now;
    struct stat st;
    char path[96];

    for (size_t i = 0; i < ARRAY_LEN(qids); i++)
        qids[i] = commit_sample(f, 1);
    snprintf(path, sizeof path, "%s/queue.db-wal", f->directory);
    assert_int_equal(stat(path, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    now = was;
    now.rlim_cur = (rlim_t)st.st_size; /* no file may grow beyond what the log is now */
    setrlimit(RLIMIT_FSIZE, &now);
    for (size_t i = 0; i < ARRAY_LEN(qids); i++)
        if (record(f, qids[i], &done, 1).status != OP_OK)
            fail_msg("result %zu was not recorded", i);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(rows(f), 0);
}

/* ---- opening ---- */

static void expect_refusal(struct fixture *f, const char *directory, const char *what)
{
    struct queue_options options = {.directory = directory};
    struct status why = status_ok();
    struct queue *q = queue_open(f->loop, &options, &why);

    assert_null(q);
    if (strstr(why.text, what) == NULL || strstr(why.text, directory) == NULL)
        fail_msg("not refused for \"%s\": %s", what, why.text);
    assert_null(strchr(why.text, '\n'));
}

static void second_instance_is_refused(void **state)
{
    struct fixture *f = *state;
    char what[64];

    snprintf(what, sizeof what, "another mta (process %d)", (int)getpid());
    expect_refusal(f, f->directory, what);
    commit_sample(f, 1); /* the first one goes on */
    fixture_reopen(f);
    commit_sample(f, 1);
}

static void missing_directory_is_refused(void **state)
{
    expect_refusal(*state, "/tmp/mta-queue-there-is-no-such", "does not exist: create it");
}

static void read_only_directory_is_refused(void **state)
{
    struct fixture *f = *state;
    bool root = geteuid() == 0;

    fixture_close(f);
    fixture_remove(f);
    assert_int_equal(mkdir(f->directory, 0555), 0);
    f->loop = loop_new();
    if (root)
        assert_int_equal(seteuid(65534), 0); /* root may write anywhere */
    expect_refusal(f, f->directory, "cannot be written");
    if (root)
        assert_int_equal(seteuid(0), 0);
    loop_free(&f->loop);
    chmod(f->directory, 0700);
    fixture_open(f);
}

static void damaged_database_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[96];
    int fd;

    fixture_close(f);
    snprintf(path, sizeof path, "%s/queue.db", f->directory);
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "no header of a database", 23, 0), 23);
    close(fd);
    f->loop = loop_new();
    expect_refusal(f, f->directory, "is damaged");
    unlink(path);
    loop_free(&f->loop);
    fixture_open(f); /* the lock was given back */
}

static void content_is_nobody_elses(void **state)
{
    static const char *const names[] = {"queue.db", "queue.db-wal", "lock"};
    struct fixture *f = *state;
    char path[96];
    struct stat st;

    commit_sample(f, 1);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f->directory, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 077, 0);
    }
}

static void ids_go_on_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct envelope *e = sample(f, "s@example.org", 1);
    struct status s;

    e->qid += 3600000000; /* written an hour from now: the clock was set back since */
    s = commit(f, e, "body\n");
    assert_true(status_is_ok(&s));
    fixture_reopen(f);
    assert_true(id_next() > e->qid);
}

/* ---- crashes ---- */

struct ledger {
    _Atomic uint64_t answered[5000];
    atomic_size_t n;
};

struct victim {
    struct fixture f;
    struct ledger *ledger;
};

struct victim_commit {
    struct victim *v;
    uint64_t qid;
};

static void on_victim_commit(void *owner, enum op_status status, const void *result)
{
    struct victim_commit *c = owner;
    struct ledger *l = c->v->ledger;

    (void)result;
    if (status == OP_OK && l->n < ARRAY_LEN(l->answered)) {
        l->answered[l->n] = c->qid;
        l->n++;
    }
}

/* A process that takes small and large messages, aborts some, and never ends by itself. */
static void victim_run(void *arg)
{
    struct victim *v = arg;
    struct fixture *f = &v->f;

    for (int i = 0; i < 6; i++) {
        struct envelope *e = sample(f, "s@example.org", 2);
        struct queue_writer *w = queue_begin(f->queue, e->qid);
        struct victim_commit *c = ARENA_NEW(&f->arena, struct victim_commit);

        c->v = v;
        c->qid = e->qid;
        write_pattern(w, i % 3 == 2 ? 200000 : 3000, 50000);
        if (i == 5)
            queue_abort(&w);
        else
            queue_commit(&w, &f->scope, e, on_victim_commit, c);
    }
    timer_start(f->loop, ARENA_NEW(&f->arena, struct timer), 1, victim_run, v);
}

static void check_after_crash(struct fixture *f, const struct ledger *l)
{
    for (size_t i = 0; i < l->n; i++) {
        char text[100];

        snprintf(text, sizeof text, "SELECT count(*) FROM rcpt JOIN message USING(qid) WHERE qid = %llu",
                 (unsigned long long)l->answered[i]);
        assert_int_equal(fixture_sql(f, text), 2);
    }
    if (l->n > 0)
        check_pattern(f, l->answered[l->n - 1], read_piece(f, l->answered[l->n - 1], 0).last ? 3000 : 200000);
    /* nothing in part: what is there is there as a whole */
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM incoming"), 0);
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM content WHERE qid NOT IN (SELECT qid FROM message)"), 0);
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM message WHERE size <> coalesce("
                                    "(SELECT length(bytes) FROM body WHERE body.qid = message.qid),"
                                    "(SELECT sum(length(bytes)) FROM content WHERE content.qid = message.qid))"),
                     0);
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

static void what_was_answered_survives_kill(void **state)
{
    struct fixture *f = *state;
    struct ledger *ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t total = 0;

    assert_true(ledger != MAP_FAILED);
    fixture_close(f);
    for (int round = 0; round < 15; round++) {
        pid_t child;

        ledger->n = 0;
        child = fork();
        if (child == 0) {
            struct victim v = {.ledger = ledger};

            memcpy(v.f.directory, f->directory, sizeof v.f.directory);
            fixture_open(&v.f);
            victim_run(&v);
            for (;;)
                loop_run(v.f.loop);
        }
        usleep((useconds_t)(20000 + round * 3700));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        total += ledger->n;
        fixture_open(f);
        check_after_crash(f, ledger);
        fixture_close(f);
    }
    fixture_open(f);
    assert_true(total > 0);
    munmap(ledger, sizeof *ledger);
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
        TEST(each_lone_commit_is_on_the_disk_before_its_answer),
        TEST(results_are_recorded),
        TEST(a_large_message_goes_with_its_pieces),
        TEST(failed_recipients_wait_for_their_report),
        TEST(report_and_removal_are_one_transaction),
        TEST(without_a_report_they_are_just_removed),
        TEST(a_report_that_fails_changes_nothing),
        TEST(faults_are_answered_and_pass),
        TEST(everyone_who_waits_hears_of_a_fault),
        TEST(one_bad_commit_does_not_take_down_others),
        TEST(a_piece_that_failed_fails_the_commit),
        TEST(litter_of_a_full_disk_is_removed_later),
        TEST(results_can_be_recorded_on_a_full_disk),
        TEST(second_instance_is_refused),
        TEST(missing_directory_is_refused),
        TEST(read_only_directory_is_refused),
        TEST(damaged_database_is_refused),
        TEST(content_is_nobody_elses),
        TEST(ids_go_on_after_a_restart),
        TEST(what_was_answered_survives_kill),
    };

    faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
