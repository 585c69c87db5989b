/*
 * Certificates of server names (tls_server_sni_maps): the files that a table names, read on a thread of the pool and
 * kept, a bounded number of them, in the server's slots, where tls_renew.c looks after them. Called by
 * tls_handshake.c. Several who ask for the same files at once wait for one reading.
 */
#include "core/base/alloc.h"
#include "core/loop/work.h"
#include "tls/tls_server_int.h"

#define SLOTS_MAX 256 /* some 20 KiB each */

struct wait {
    struct op op;
    struct list link; /* in tls_slot.waiters */
    struct tls_setup *setup;
    char *error;
};

struct reading {
    struct tls_server *server; /* a reference */
    char *files;
    struct tls_setup *setup;
    struct buf err;
};

static void wait_release(struct op *op)
{
    struct wait *w = (struct wait *)op;

    list_remove(&w->link);
    tls_setup_unref(&w->setup);
    mem_free(w->error);
    mem_free(w);
}

static void wait_finish(struct wait *w, struct tls_setup *setup, const char *error)
{
    if (setup != NULL) {
        w->setup = tls_setup_ref(setup);
        op_finish(&w->op, OP_OK, w->setup);
    } else {
        w->error = mem_strdup(error);
        op_finish(&w->op, OP_TEMPFAIL, w->error);
    }
}

static struct tls_slot *find(const struct tls_server *s, const char *files)
{
    LIST_FOREACH(it, &s->slots)
    {
        struct tls_slot *slot = LIST_ITEM(it, struct tls_slot, link);

        if (slot->files != NULL && strcmp(slot->files, files) == 0)
            return slot;
    }
    return NULL;
}

/* Room for one more: the one that was not used for the longest time goes. */
static void make_room(struct tls_server *s)
{
    if (s->nslots < SLOTS_MAX)
        return;
    LIST_FOREACH(it, &s->slots)
    {
        struct tls_slot *slot = LIST_ITEM(it, struct tls_slot, link);

        if (slot->files != NULL && slot->setup != NULL) {
            tls_slot_free(s, slot);
            return;
        }
    }
}

/* ---- reading ---- */

static enum op_status read_files(void *arg)
{
    struct reading *r = arg;

    r->setup = tls_setup_load(&r->server->opts, r->files, false, &r->err);
    return OP_OK;
}

static void reading_release(void *arg)
{
    struct reading *r = arg;

    tls_setup_unref(&r->setup);
    tls_server_unref(&r->server);
    mem_free(r->files);
    buf_release(&r->err);
    mem_free(r);
}

/* What waits goes on; files that could not be read are tried again when they are asked for again. */
static void read_done(void *owner, enum op_status status, const void *result)
{
    struct tls_server *s = owner;
    struct reading *r = (struct reading *)result;
    struct tls_slot *slot = find(s, r->files);
    struct slice why = slice_str(buf_cstr(&r->err));
    char *error = mem_dup(why.p, slice_find(why, '\n') == SLICE_NOT_FOUND ? why.n : slice_find(why, '\n'));
    struct list *it;

    (void)status;
    slot->setup = r->setup;
    r->setup = NULL;
    while ((it = list_shift(&slot->waiters)) != NULL)
        wait_finish(LIST_ITEM(it, struct wait, link), slot->setup, error);
    if (slot->setup == NULL)
        tls_slot_free(s, slot);
    mem_free(error);
}

static struct tls_slot *begin_reading(struct tls_server *s, const char *files)
{
    struct reading *r = NEW(struct reading);

    make_room(s);
    r->server = tls_server_ref(s);
    r->files = mem_strdup(files);
    work_run(s->loop, &s->scope, "TLS certificates", 0, read_files, r, reading_release, read_done, s);
    return tls_slot_new(s, files, NULL);
}

void tls_sni_setup(struct tls_server *s, const char *files, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct wait *w = NEW(struct wait);
    struct tls_slot *slot = find(s, files);

    op_start(&w->op, s->loop, scope, "TLS certificate of a server name", 0, done, owner, wait_release);
    if (slot == NULL)
        slot = begin_reading(s, files);
    if (slot->setup == NULL) {
        list_append(&slot->waiters, &w->link);
        return;
    }
    list_remove(&slot->link);
    list_append(&s->slots, &slot->link);
    wait_finish(w, slot->setup, NULL);
}
