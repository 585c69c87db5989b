/* randmap:{a, b, b}: one of the results, each as likely as the other, whatever the key. */
#include "core/base/alloc.h"
#include "lookup/maps.h"
#include "lookup/table_int.h"

#include <stdlib.h>

struct table_randmap {
    struct table table;
    struct slice *results; /* within the table's name */
    uint32_t count;
};

static bool randmap_open(struct table *table, const char *arg, struct buf *err)
{
    struct table_randmap *t = (struct table_randmap *)table;
    struct slice rest = slice_str(arg), item;

    table->fixed = false;
    if (rest.n < 2 || rest.p[0] != '{' || rest.p[rest.n - 1] != '}')
        rest = SLICE_EMPTY;
    else
        rest = slice_make(rest.p + 1, rest.n - 2);
    while ((item = maps_list_item(&rest)).n > 0) {
        t->results = mem_resize(t->results, (t->count + 1) * sizeof *t->results);
        t->results[t->count++] = item;
    }
    if (t->count == 0)
        buf_printf(err, "%s: written with its results in braces, {result, result}", table->name);
    return t->count > 0;
}

static void randmap_lookup(struct table *table, struct table_op *o)
{
    const struct table_randmap *t = (const struct table_randmap *)table;

    table_found(o, t->results[arc4random_uniform(t->count)]);
}

static void randmap_close(struct table *table)
{
    mem_free(((struct table_randmap *)table)->results);
}

const struct table_kind table_kind_randmap = {
    .type = "randmap",
    .size = sizeof(struct table_randmap),
    .open = randmap_open,
    .lookup = randmap_lookup,
    .close = randmap_close,
};
