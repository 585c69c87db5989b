/* The queue when things go wrong: full disks, damage, a second instance, kill -9. */
#include "unit/core/queue/content.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

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
