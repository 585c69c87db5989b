/* Readiness of a descriptor that a library owns: see fdwatch.h. The uv_poll_t outlives the owner until libuv lets go.
 */
#include "core/loop/fdwatch.h"

#include "core/base/alloc.h"
#include "core/loop/loop_int.h"

struct fdwatch_handle {
    uv_poll_t poll;
    struct fdwatch *owner; /* NULL: stopped */
    int fd, asked;
};

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct fdwatch_handle *h = p->data;
    int told = 0;

    if (h->owner == NULL)
        return;
    if (status < 0)
        told = h->asked;
    if (events & UV_READABLE)
        told |= FDWATCH_READ;
    if (events & UV_WRITABLE)
        told |= FDWATCH_WRITE;
    if (events & UV_PRIORITIZED)
        told |= FDWATCH_PRIO;
    h->owner->fn(h->owner->arg, told);
}

static int uv_events(int events)
{
    return (events & FDWATCH_READ ? UV_READABLE : 0) | (events & FDWATCH_WRITE ? UV_WRITABLE : 0) |
           (events & FDWATCH_PRIO ? UV_PRIORITIZED : 0);
}

bool fdwatch_start(struct loop *l, struct fdwatch *w, int fd, int events, void (*fn)(void *arg, int events), void *arg)
{
    if (w->handle != NULL && w->handle->fd != fd)
        fdwatch_stop(w);
    if (w->handle == NULL) {
        struct fdwatch_handle *h = NEW(struct fdwatch_handle);

        if (uv_poll_init(&l->uv, &h->poll, fd) != 0) {
            mem_free(h);
            return false;
        }
        h->poll.data = h;
        h->owner = w;
        h->fd = fd;
        w->handle = h;
    }
    w->fn = fn;
    w->arg = arg;
    w->handle->asked = events;
    return uv_poll_start(&w->handle->poll, uv_events(events), on_poll) == 0;
}

void fdwatch_stop(struct fdwatch *w)
{
    if (w->handle == NULL)
        return;
    w->handle->owner = NULL;
    uv_poll_stop(&w->handle->poll);
    loop_close_handle((uv_handle_t *)&w->handle->poll);
    w->handle = NULL;
}
