/* The rules of op.h, each with the case that breaks when it is not kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/loop/op.h"
#include "core/loop/work.h"

#include <unistd.h>

static int released;

static void release(struct op *op)
{
    released++;
    mem_free(op);
}

struct owner {
    struct loop *loop;
    struct op_scope scope;
    int called, chain;
    enum op_status last;
    bool close_in_callback;
};

static struct owner owner_make(void)
{
    struct owner o = {.loop = loop_new()};

    released = 0;
    return o;
}

static void on_done(void *arg, enum op_status st, const void *result)
{
    struct owner *o = arg;

    (void)result;
    o->called++;
    o->last = st;
    if (o->close_in_callback)
        op_scope_close(&o->scope);
}

static struct op *start(struct owner *o, uint64_t timeout_ms, op_done_fn *done)
{
    struct op *op = NEW(struct op);

    op_start(op, o->loop, &o->scope, "test", timeout_ms, done, o, release);
    return op;
}

static void callback_is_never_inside_the_start_call(void **unused)
{
    struct owner o = owner_make();

    (void)unused;
    op_scope_init(&o.scope, "t");
    op_finish(start(&o, 0, on_done), OP_NOTFOUND, NULL);
    assert_int_equal(o.called, 0);
    loop_run(o.loop);
    assert_int_equal(o.called, 1);
    assert_int_equal(o.last, OP_NOTFOUND);
    assert_int_equal(released, 1);
    assert_int_equal(op_live(o.loop), 0);
    loop_free(&o.loop);
}

static void no_callback_after_the_scope_is_closed(void **unused)
{
    struct owner o = owner_make();
    struct op *late;

    (void)unused;
    op_scope_init(&o.scope, "t");
    late = start(&o, 0, on_done);
    op_finish(start(&o, 0, on_done), OP_OK, NULL); /* finished but not delivered yet */
    op_scope_close(&o.scope);
    assert_true(op_detached(late));
    op_finish(late, OP_OK, NULL);
    loop_run(o.loop);
    assert_int_equal(o.called, 0);
    assert_int_equal(released, 2);
    loop_free(&o.loop);
}

static void callback_may_close_its_scope_with_others_waiting(void **unused)
{
    struct owner o = owner_make();

    (void)unused;
    op_scope_init(&o.scope, "t");
    o.close_in_callback = true;
    for (int i = 0; i < 3; i++)
        op_finish(start(&o, 0, on_done), OP_OK, NULL);
    loop_run(o.loop);
    assert_int_equal(o.called, 1);
    assert_int_equal(released, 3);
    loop_free(&o.loop);
}

static void timeout_is_delivered_once_and_the_late_answer_dropped(void **unused)
{
    struct owner o = owner_make();
    struct op *op;

    (void)unused;
    op_scope_init(&o.scope, "t");
    op = start(&o, 5, on_done);
    loop_run(o.loop);
    assert_int_equal(o.called, 1);
    assert_int_equal(o.last, OP_TIMEOUT);
    assert_int_equal(released, 0); /* the back end still has it */
    op_finish(op, OP_OK, NULL);
    loop_run(o.loop);
    assert_int_equal(o.called, 1);
    assert_int_equal(released, 1);
    loop_free(&o.loop);
}

static void on_chain(void *arg, enum op_status st, const void *result)
{
    struct owner *o = arg;

    (void)st;
    (void)result;
    if (++o->chain < 1000)
        op_finish(start(o, 0, on_chain), OP_OK, NULL);
}

static void a_long_chain_does_not_recurse(void **unused)
{
    struct owner o = owner_make();

    (void)unused;
    op_scope_init(&o.scope, "t");
    op_finish(start(&o, 0, on_chain), OP_OK, NULL);
    loop_run(o.loop);
    assert_int_equal(o.chain, 1000);
    assert_int_equal(released, 1000);
    loop_free(&o.loop);
}

static enum op_status slow(void *arg)
{
    usleep(20000);
    *(int *)arg = 42;
    return OP_OK;
}

static void on_work(void *arg, enum op_status st, const void *result)
{
    struct owner *o = arg;

    o->last = st;
    o->called = *(const int *)result;
}

static void work_runs_off_the_loop_and_gives_its_argument(void **unused)
{
    struct owner o = owner_make();

    (void)unused;
    op_scope_init(&o.scope, "t");
    work_run(o.loop, &o.scope, "slow", 0, slow, mem_new(sizeof(int)), mem_free, on_work, &o);
    loop_run(o.loop);
    assert_int_equal(o.called, 42);
    loop_free(&o.loop);
}

static void work_under_way_outlives_its_owner(void **unused)
{
    struct owner o = owner_make();

    (void)unused;
    op_scope_init(&o.scope, "t");
    work_run(o.loop, &o.scope, "slow", 0, slow, mem_new(sizeof(int)), mem_free, on_work, &o);
    op_scope_close(&o.scope);
    loop_free(&o.loop); /* waits for the thread; ASan sees a leak or a late write */
    assert_int_equal(o.called, 0);
}

struct job {
    struct worker_job job;
    struct owner *o;
    int batch;
};

static int batches;

static void batch(void *ctx, struct list *jobs)
{
    (void)ctx;
    batches++;
    usleep(10000);
    LIST_FOREACH(it, jobs)
    LIST_ITEM(LIST_ITEM(it, struct worker_job, link), struct job, job)->batch = batches;
}

static void job_done(struct worker_job *wj)
{
    struct job *j = LIST_ITEM(wj, struct job, job);

    j->o->called++;
    j->o->last = (enum op_status)j->batch;
}

static void worker_takes_what_waits_as_one_batch(void **unused)
{
    struct owner o = owner_make();
    struct job jobs[50] = {0};
    struct worker *w = worker_new(o.loop, "test", batch, NULL);

    (void)unused;
    batches = 0;
    for (int i = 0; i < 50; i++) {
        jobs[i].o = &o;
        worker_submit(w, &jobs[i].job, job_done);
    }
    loop_run(o.loop);
    assert_int_equal(o.called, 50);
    assert_in_range(batches, 1, 3);
    assert_int_equal(worker_pending(w), 0);
    worker_free(&w);
    loop_free(&o.loop);
}

static void worker_free_finishes_what_was_submitted(void **unused)
{
    struct owner o = owner_make();
    struct job jobs[5] = {0};
    struct worker *w = worker_new(o.loop, "test", batch, NULL);

    (void)unused;
    for (int i = 0; i < 5; i++) {
        jobs[i].o = &o;
        worker_submit(w, &jobs[i].job, job_done);
    }
    worker_free(&w);
    assert_int_equal(o.called, 5);
    loop_free(&o.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callback_is_never_inside_the_start_call),
        cmocka_unit_test(no_callback_after_the_scope_is_closed),
        cmocka_unit_test(callback_may_close_its_scope_with_others_waiting),
        cmocka_unit_test(timeout_is_delivered_once_and_the_late_answer_dropped),
        cmocka_unit_test(a_long_chain_does_not_recurse),
        cmocka_unit_test(work_runs_off_the_loop_and_gives_its_argument),
        cmocka_unit_test(work_under_way_outlives_its_owner),
        cmocka_unit_test(worker_takes_what_waits_as_one_batch),
        cmocka_unit_test(worker_free_finishes_what_was_submitted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
