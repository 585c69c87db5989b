/*
 * Embedded timers: a binary heap over one uv_timer. A timer that is set to a later time, as a session does with every
 * command, stays where it is in the heap and is moved only when its old time comes up: restarting costs nothing.
 */
#include "core/loop/timer.h"

#include "core/base/alloc.h"
#include "core/loop/loop_int.h"

static void put_at(struct loop *l, size_t i, struct timer *t)
{
    l->heap[i] = t;
    t->heap_at = i;
}

static void sift_up(struct loop *l, size_t i)
{
    struct timer *t = l->heap[i];

    while (i > 0 && l->heap[(i - 1) / 2]->heap_ms > t->heap_ms) {
        put_at(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put_at(l, i, t);
}

static void sift_down(struct loop *l, size_t i)
{
    struct timer *t = l->heap[i];

    for (;;) {
        size_t child = i * 2 + 1;

        if (child >= l->nheap)
            break;
        if (child + 1 < l->nheap && l->heap[child + 1]->heap_ms < l->heap[child]->heap_ms)
            child++;
        if (l->heap[child]->heap_ms >= t->heap_ms)
            break;
        put_at(l, i, l->heap[child]);
        i = child;
    }
    put_at(l, i, t);
}

static void heap_add(struct loop *l, struct timer *t)
{
    if (l->nheap == l->heap_cap) {
        l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 64;
        l->heap = mem_resize(l->heap, l->heap_cap * sizeof(struct timer *));
    }
    l->heap[l->nheap] = t;
    sift_up(l, l->nheap++);
}

static void heap_remove(struct loop *l, struct timer *t)
{
    struct timer *moved = l->heap[--l->nheap];
    size_t at = t->heap_at;

    if (moved == t)
        return;
    put_at(l, at, moved);
    sift_up(l, at);
    sift_down(l, moved->heap_at);
}

static void on_clock(uv_timer_t *h);

static void set_clock(struct loop *l)
{
    uint64_t now = uv_now(&l->uv), at;

    if (l->nheap == 0) {
        uv_timer_stop(&l->clock);
        return;
    }
    at = l->heap[0]->heap_ms;
    if (!uv_is_active((uv_handle_t *)&l->clock) || uv_timer_get_due_in(&l->clock) != (at > now ? at - now : 0))
        uv_timer_start(&l->clock, on_clock, at > now ? at - now : 0, 0);
}

static void on_clock(uv_timer_t *h)
{
    struct loop *l = h->data;
    uint64_t now = uv_now(&l->uv);

    while (l->nheap > 0 && l->heap[0]->heap_ms <= now) {
        struct timer *t = l->heap[0];

        if (t->due_ms > now) { /* set anew since: to its real place */
            t->heap_ms = t->due_ms;
            sift_down(l, 0);
            continue;
        }
        heap_remove(l, t);
        t->loop = NULL;
        t->fn(t->arg);
    }
    set_clock(l);
    if (l->turning)
        uv_stop(&l->uv); /* timers run before the poll too: this turn has had its event and must not sleep */
}

void timer_loop_init(struct loop *l)
{
    uv_timer_init(&l->uv, &l->clock);
    l->clock.data = l;
}

void timer_loop_free(struct loop *l)
{
    for (size_t i = 0; i < l->nheap; i++)
        l->heap[i]->loop = NULL;
    l->nheap = 0;
    mem_free(l->heap);
    l->heap = NULL;
    l->heap_cap = 0;
    uv_timer_stop(&l->clock);
}

void timer_start(struct loop *l, struct timer *t, uint64_t delay_ms, void (*fn)(void *arg), void *arg)
{
    uint64_t due = uv_now(&l->uv) + (delay_ms > 0 ? delay_ms : 1);

    t->fn = fn;
    t->arg = arg;
    t->due_ms = due;
    if (t->loop != NULL && t->heap_ms <= due)
        return;
    if (t->loop != NULL)
        heap_remove(t->loop, t);
    t->loop = l;
    t->heap_ms = due;
    heap_add(l, t);
    set_clock(l);
}

void timer_stop(struct timer *t)
{
    struct loop *l = t->loop;

    if (l == NULL)
        return;
    t->loop = NULL;
    heap_remove(l, t);
    if (l->nheap == 0)
        set_clock(l);
}
