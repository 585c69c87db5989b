/* Tables whose content stands in the configuration itself: static:value and inline:{ {key = value}, key=value, ... }.
 */
#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "lookup/maps.h"
#include "lookup/table_int.h"

/* ---- static: one answer to every key ---- */

struct table_static {
    struct table table;
    struct slice value; /* within the table's name */
};

/* What stands between the outermost braces, trimmed; `text` itself, and false, when it is not in braces. */
static bool unbrace(struct slice *text)
{
    if (text->n < 2 || text->p[0] != '{' || text->p[text->n - 1] != '}')
        return false;
    *text = slice_trim(slice_make(text->p + 1, text->n - 2));
    return true;
}

static bool static_open(struct table *table, const char *arg, struct buf *err)
{
    struct table_static *t = (struct table_static *)table;

    (void)err;
    t->value = slice_str(arg);
    unbrace(&t->value);
    return true;
}

static void static_lookup(struct table *table, struct table_op *o)
{
    table_found(o, ((struct table_static *)table)->value);
}

static void static_close(struct table *table)
{
    (void)table;
}

const struct table_kind table_kind_static = {
    .type = "static",
    .size = sizeof(struct table_static),
    .open = static_open,
    .lookup = static_lookup,
    .close = static_close,
};

/* ---- inline: a list of pairs ---- */

struct table_inline {
    struct table table;
    struct arena arena;
    struct map map; /* folded key -> char * */
};

static bool add_pair(struct table_inline *t, struct slice item, struct buf *err)
{
    struct buf key = {0};
    struct slice pair = item, value;
    size_t equals;

    unbrace(&pair);
    equals = slice_find(pair, '=');
    if (equals != SLICE_NOT_FOUND)
        table_fold(&key, slice_trim(slice_head(pair, equals)));
    value = slice_trim(slice_from(pair, equals == SLICE_NOT_FOUND ? pair.n : equals + 1));
    if (buf_len(&key) > 0 && value.n > 0 && map_get(&t->map, buf_slice(&key)) == NULL)
        map_put(&t->map, buf_slice(&key), arena_slice_dup(&t->arena, value));
    else if (buf_len(&key) == 0 || value.n == 0)
        buf_printf(err, "\"%.*s\" is not key=value or {key = value}", (int)item.n, item.p);
    else
        buf_printf(err, "key \"%s\" stands twice in the table", buf_cstr(&key));
    buf_release(&key);
    return buf_len(err) == 0;
}

static void inline_close(struct table *table)
{
    struct table_inline *t = (struct table_inline *)table;

    map_clear(&t->map);
    arena_clear(&t->arena);
}

static bool inline_open(struct table *table, const char *arg, struct buf *err)
{
    struct table_inline *t = (struct table_inline *)table;
    struct slice rest = slice_str(arg), item;
    struct buf why = {0};
    bool ok = unbrace(&rest);

    while (ok && (item = maps_list_item(&rest)).n > 0)
        ok = add_pair(t, item, &why);
    ok = ok && t->map.count > 0;
    if (!ok)
        buf_printf(err, "%s: %s", table->name,
                   buf_len(&why) > 0 ? buf_cstr(&why) : "written inline:{ {key = value}, ... }");
    buf_release(&why);
    return ok;
}

static void inline_lookup(struct table *table, struct table_op *o)
{
    const char *value = map_get(&((struct table_inline *)table)->map, slice_str(o->key));

    if (value != NULL)
        table_found(o, slice_str(value));
    else
        table_notfound(o);
}

const struct table_kind table_kind_inline = {
    .type = "inline",
    .size = sizeof(struct table_inline),
    .open = inline_open,
    .lookup = inline_lookup,
    .close = inline_close,
};
