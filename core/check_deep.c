/*
 * Runs the deep check: see check_deep.h. Called by server_check. Everything is begun at once and waited for on the
 * loop; lines are printed in the order in which things were begun. What has no verdict when the time is over fails.
 */
#include "core/check_deep_int.h"

#include "core/base/alloc.h"
#include "core/base/codec.h"

#include <stdarg.h>
#include <time.h>

struct deep_try {
    struct list link;
    struct deep *deep;
    char *what, *found; /* found is NULL until there is a verdict */
    enum deep_verdict verdict;
    uint64_t begun_us, took_us;
};

/* Not the loop's clock, which stands still while files are read. */
static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static char *printable(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
static char *printable(const char *fmt, va_list ap)
{
    struct buf text = {0};

    buf_vprintf(&text, fmt, ap);
    buf_cstr(&text);
    codec_printable(text.data, buf_len(&text), true);
    return text.data;
}

struct deep_try *deep_begin(struct deep *d, const char *fmt, ...)
{
    struct deep_try *t = NEW(struct deep_try);
    va_list ap;

    va_start(ap, fmt);
    t->what = printable(fmt, ap);
    va_end(ap);
    t->deep = d;
    t->begun_us = now_us();
    list_append(&d->tries, &t->link);
    d->under_way++;
    return t;
}

static void print(struct deep_try *t)
{
    static const char *const verdicts[] = {[DEEP_OK] = "ok", [DEEP_WARN] = "warn", [DEEP_FAIL] = "FAIL"};
    struct check_deep_result *r = &t->deep->result;

    fprintf(t->deep->out, "%-4s %5ju ms  %s: %s\n", verdicts[t->verdict], (uintmax_t)(t->took_us / 1000), t->what,
            t->found);
    r->tried++;
    r->failed += t->verdict == DEEP_FAIL;
    r->warned += t->verdict == DEEP_WARN;
    list_remove(&t->link);
    mem_free(t->what);
    mem_free(t->found);
    mem_free(t);
}

void deep_end(struct deep_try *t, enum deep_verdict verdict, const char *fmt, ...)
{
    struct deep *d = t->deep;
    va_list ap;

    va_start(ap, fmt);
    t->found = printable(fmt, ap);
    va_end(ap);
    t->verdict = verdict;
    t->took_us = now_us() - t->begun_us;
    d->under_way--;
    LIST_FOREACH(it, &d->tries)
    {
        struct deep_try *first = LIST_ITEM(it, struct deep_try, link);

        if (first->found == NULL)
            break;
        print(first);
    }
    fflush(d->out);
}

const char *deep_source(struct deep *d, const char *parameter, const struct conf_place *place)
{
    if (place->line > 0)
        return arena_printf(&d->arena, " (%s, %s:%d)", parameter, place->file, place->line);
    return arena_printf(&d->arena, " (%s)", parameter);
}

const char *deep_text(struct deep *d, const struct conf_section *listener, const char *name, struct conf_place *place)
{
    const char *text = d->texts != NULL ? conf_texts_get(d->texts, listener, name, place) : NULL;

    return text != NULL ? text : "";
}

static void on_limit(void *arg)
{
    struct deep *d = arg;

    d->late = true;
}

/* The first that is not printed has no verdict. */
static void give_up(struct deep *d)
{
    while (!list_empty(&d->tries))
        deep_end(LIST_ITEM(d->tries.next, struct deep_try, link), DEEP_FAIL, "there was no end to it in %d seconds",
                 CHECK_DEEP_MOST_MS / 1000);
}

struct check_deep_result check_deep(struct loop *loop, const struct setup *setup, struct tables *tables,
                                    const char *path, FILE *out)
{
    struct deep d = {.loop = loop, .conf = setup->conf, .setup = setup, .tables = tables, .out = out};

    op_scope_init(&d.scope, "deep check");
    list_init(&d.tries);
    d.texts = conf_texts_read(path);
    timer_start(loop, &d.limit, CHECK_DEEP_MOST_MS, on_limit, &d);
    deep_tables(&d);
    deep_sockets(&d);
    deep_certs(&d);
    deep_files(&d);
    deep_names(&d);
    deep_relay(&d);
    while ((d.under_way > 0 || op_live(loop) > 0) && !d.late)
        loop_turn(loop);
    timer_stop(&d.limit);
    d.result.stuck = d.under_way > 0 || op_live(loop) > 0; /* the resolver, say, after its connection was given up */
    if (d.under_way > 0) {
        give_up(&d);
        return d.result; /* what is stuck goes on using the rest */
    }
    op_scope_close(&d.scope);
    conf_texts_free(&d.texts);
    arena_clear(&d.arena);
    return d.result;
}
