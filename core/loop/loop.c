/*
 * The loop: deferred tasks, delayed frees, signals. Made by main (and by tests); everything else in core/loop hangs on
 * it. Deferred tasks run from an idle handle before the poll and from a check handle after it, so what one turn of the
 * loop defers is done in that turn or at the start of the next, without a sleep between.
 */
#include "core/loop/loop.h"

#include "core/base/alloc.h"
#include "core/loop/loop_int.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_A_TURN 8

struct doomed {
    struct list link;
    void *p;
};

struct loop_signal {
    struct list link;
    uv_signal_t handle;
    void (*fn)(void *arg, int signum);
    void *arg;
};

static void free_doomed(struct loop *l)
{
    struct list *it;

    while ((it = list_shift(&l->doomed)) != NULL) {
        struct doomed *d = LIST_ITEM(it, struct doomed, link);

        mem_free(d->p);
        mem_free(d);
    }
}

/* Runs what waits now; what these tasks defer waits for the next round. */
static void run_round(struct loop *l)
{
    struct list batch, *it;

    list_init(&batch);
    list_splice(&batch, &l->tasks);
    while ((it = list_shift(&batch)) != NULL) {
        struct loop_task *t = LIST_ITEM(it, struct loop_task, link);

        t->fn(t->arg);
    }
    free_doomed(l);
}

/* A few rounds, since one answer often leads to the next question, and a look at the sockets between them costs more.
 */
static void run_tasks(struct loop *l)
{
    for (int round = 0; round < ROUNDS_A_TURN && !list_empty(&l->tasks); round++)
        run_round(l);
    free_doomed(l);
    if (list_empty(&l->tasks))
        uv_idle_stop(&l->idle);
}

static void on_idle(uv_idle_t *h)
{
    run_tasks(h->data);
}

static void on_check(uv_check_t *h)
{
    run_tasks(h->data);
}

static void on_prepare(uv_prepare_t *h)
{
    const struct loop *l = h->data;

    if (l->before_poll != NULL)
        l->before_poll();
}

void loop_before_poll(struct loop *l, void (*fn)(void))
{
    l->before_poll = fn;
}

/* Makes the next poll not sleep. */
static void stay_awake(struct loop *l)
{
    if (!l->closing)
        uv_idle_start(&l->idle, on_idle);
}

struct loop *loop_new(void)
{
    struct loop *l = NEW(struct loop);

    list_init(&l->tasks);
    list_init(&l->doomed);
    list_init(&l->signals);
    list_init(&l->ops);
    MTA_ASSERT(uv_loop_init(&l->uv) == 0);
    l->uv.data = l;
    uv_idle_init(&l->uv, &l->idle);
    uv_check_init(&l->uv, &l->check);
    uv_prepare_init(&l->uv, &l->prepare);
    l->idle.data = l->check.data = l->prepare.data = l;
    uv_check_start(&l->check, on_check);
    uv_unref((uv_handle_t *)&l->check);
    uv_prepare_start(&l->prepare, on_prepare);
    uv_unref((uv_handle_t *)&l->prepare);
    timer_loop_init(l);
    return l;
}

void loop_run(struct loop *l)
{
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_turn(struct loop *l)
{
    l->turning = true;
    uv_run(&l->uv, UV_RUN_ONCE);
    l->turning = false;
}

void loop_stop(struct loop *l)
{
    uv_stop(&l->uv);
}

static void close_left(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

void loop_free(struct loop **lp)
{
    struct loop *l = *lp;
    struct list *it;

    if (l == NULL)
        return;
    *lp = NULL;
    l->closing = true;
    timer_loop_free(l);
    uv_walk(&l->uv, close_left, NULL);
    while (uv_run(&l->uv, UV_RUN_NOWAIT) != 0) /* work on pool threads ends first */
        ;
    while (!list_empty(&l->tasks) || !list_empty(&l->doomed)) /* releases of ops that finished last */
        run_tasks(l);
    MTA_ASSERT(uv_loop_close(&l->uv) == 0);
    while ((it = list_shift(&l->signals)) != NULL)
        mem_free(LIST_ITEM(it, struct loop_signal, link));
    mem_free(l);
}

uint64_t loop_now_ms(const struct loop *l)
{
    return uv_now(&l->uv);
}

uint64_t clock_wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void loop_defer(struct loop *l, struct loop_task *t, void (*fn)(void *arg), void *arg)
{
    if (list_linked(&t->link))
        return;
    t->fn = fn;
    t->arg = arg;
    list_append(&l->tasks, &t->link);
    stay_awake(l);
}

void loop_defer_cancel(struct loop_task *t)
{
    list_remove(&t->link);
}

void loop_free_later(struct loop *l, void *p)
{
    struct doomed *d = NEW(struct doomed);

    d->p = p;
    list_append(&l->doomed, &d->link);
    stay_awake(l);
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct loop_signal *s = h->data;

    s->fn(s->arg, signum);
}

void loop_on_signal(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg)
{
    struct loop_signal *s = NEW(struct loop_signal);

    s->fn = fn;
    s->arg = arg;
    list_append(&l->signals, &s->link);
    uv_signal_init(&l->uv, &s->handle);
    s->handle.data = s;
    uv_signal_start(&s->handle, on_signal, signum);
    uv_unref((uv_handle_t *)&s->handle);
}

bool loop_fds_left(const struct loop *l, int fd, unsigned keep)
{
    struct rlimit files;
    rlim_t high;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return true;
    high = files.rlim_cur - (keep < files.rlim_cur / 4 ? keep : files.rlim_cur / 4);
    if (fd < 0) {
        fd = fcntl(uv_backend_fd(&l->uv), F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return false;
        close(fd);
    }
    return (rlim_t)fd < high;
}

static void free_data(uv_handle_t *h)
{
    mem_free(h->data);
}

void loop_close_handle(uv_handle_t *h)
{
    uv_close(h, free_data);
}
