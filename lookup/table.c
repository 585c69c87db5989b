/*
 * The registry of tables: opens "type:argument" once, folds keys, keeps count of lookups under way, and delivers their
 * answers. Called by whoever has a table in its configuration; the kinds of tables are rows of `kinds`.
 *
 * A key that no table can hold (empty, too long, malformed UTF-8, a NUL inside) is "not found" without asking.
 */
#include "lookup/table.h"

#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "core/conf/conf_near.h"
#include "lookup/mysql_pool.h"
#include "lookup/table_int.h"

#include <locale.h>
#include <pthread.h>
#include <wctype.h>

#define DEPTH_MAX 8

static const struct table_kind *const kinds[] = {
    &table_kind_hash,   &table_kind_btree,  &table_kind_lmdb,     &table_kind_cdb,       &table_kind_texthash,
    &table_kind_static, &table_kind_inline, &table_kind_unionmap, &table_kind_pipemap,   &table_kind_randmap,
    &table_kind_mysql,  &table_kind_sqlite, &table_kind_unix,     &table_kind_environ,   &table_kind_cidr,
    &table_kind_regexp, &table_kind_pcre,   &table_kind_tcp,      &table_kind_socketmap, &table_kind_fail,
};

struct tables *tables_new(struct loop *loop)
{
    struct tables *ts = NEW(struct tables);

    ts->loop = loop;
    list_init(&ts->in_flight);
    return ts;
}

struct loop *tables_loop(const struct tables *ts)
{
    return ts->loop;
}

/* ---- answers ---- */

static void op_release(struct op *op)
{
    struct table_op *o = (struct table_op *)op;

    mem_free(o->key);
    mem_free(o->text);
    mem_free(o->query);
    mem_free(o);
}

static void tell(const struct table_op *o, enum op_status status)
{
    const struct table_asked asked = {
        .table = o->table->name,
        .key = o->key,
        .status = status,
        .value = o->answer.value,
        .why = o->answer.why,
        .query = o->query,
    };

    if (o->key != NULL)
        o->trace->asked(o->trace->arg, &asked);
}

static void finish(struct table_op *o, enum op_status status)
{
    list_remove(&o->in_flight);
    if (o->trace != NULL && !op_detached(&o->op)) /* else whoever traced may be gone */
        tell(o, status);
    op_finish(&o->op, status, &o->answer);
}

void table_found(struct table_op *o, struct slice value)
{
    complaint_clear(&o->table->complaint, o->table->name);
    o->text = mem_dup(value.p, value.n);
    o->answer.value = o->text;
    finish(o, OP_OK);
}

void table_notfound(struct table_op *o)
{
    complaint_clear(&o->table->complaint, o->table->name);
    finish(o, OP_NOTFOUND);
}

void table_failed(struct table_op *o, const char *why)
{
    complaint_raise(&o->table->complaint, o->table->tables->loop, o->table->name, why);
    o->text = mem_printf("%s: %s", o->table->name, why);
    o->answer.why = o->text;
    finish(o, OP_TEMPFAIL);
}

void table_failed_quietly(struct table_op *o, const char *why)
{
    o->text = mem_strdup(why);
    o->answer.why = o->text;
    finish(o, OP_TEMPFAIL);
}

/* ---- keys ---- */

static locale_t fold_locale;
static pthread_once_t fold_once = PTHREAD_ONCE_INIT;

static void make_fold_locale(void)
{
    fold_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static uint32_t utf8_decode(struct slice s, size_t len)
{
    static const unsigned char first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = (unsigned char)s.p[0] & first_bits[len];

    for (size_t i = 1; i < len; i++)
        c = c << 6 | ((unsigned char)s.p[i] & 0x3f);
    return c;
}

static void utf8_encode(struct buf *out, uint32_t c)
{
    static const struct {
        uint32_t below;
        unsigned char lead;
        int shift;
    } forms[] = {{0x80, 0, 0}, {0x800, 0xc0, 6}, {0x10000, 0xe0, 12}, {0x110000, 0xf0, 18}};
    size_t i = 0;

    while (c >= forms[i].below)
        i++;
    buf_add_char(out, (char)(forms[i].lead | c >> forms[i].shift));
    for (int shift = forms[i].shift - 6; shift >= 0; shift -= 6)
        buf_add_char(out, (char)(0x80 | ((c >> shift) & 0x3f)));
}

void table_fold(struct buf *out, struct slice key)
{
    pthread_once(&fold_once, make_fold_locale);
    while (key.n > 0) {
        size_t len = codec_utf8_length(key);

        if (len <= 1 || fold_locale == (locale_t)0) {
            buf_add_char(out, ascii_lower(key.p[0]));
            len = 1;
        } else {
            utf8_encode(out, (uint32_t)towlower_l((wint_t)utf8_decode(key, len), fold_locale));
        }
        key = slice_from(key, len);
    }
}

static bool key_possible(struct slice key)
{
    return key.n > 0 && key.n <= TABLE_KEY_MAX && memchr(key.p, 0, key.n) == NULL && codec_utf8_valid(key);
}

static char *key_for(const struct table *t, struct slice key)
{
    struct buf folded = {0};

    if (!t->fixed)
        return mem_dup(key.p, key.n);
    table_fold(&folded, key);
    buf_cstr(&folded);
    return folded.data; /* never consumed from, so it starts there; the op frees it */
}

void table_lookup(struct table *t, struct op_scope *scope, struct slice key, op_done_fn *done, void *owner)
{
    struct table_op *o = NEW(struct table_op);

    o->table = t;
    o->trace = scope->trace;
    list_append(&t->tables->in_flight, &o->in_flight);
    op_start(&o->op, t->tables->loop, scope, t->kind->type, 0, done, owner, op_release);
    if (!key_possible(key)) {
        finish(o, OP_NOTFOUND);
        return;
    }
    o->key = key_for(t, key);
    t->kind->lookup(t, o);
}

/* ---- opening and closing ---- */

static const struct table_kind *kind_of(struct slice type)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (slice_eq(slice_str(kinds[i]->type), type))
            return kinds[i];
    return NULL;
}

/* "nosuch:x: unsupported table type", and which one may have been meant. */
static void complain_of_type(struct slice spec, struct slice type, struct buf *err)
{
    char *name = mem_dup(type.p, type.n);
    struct conf_near near = {.name = name};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        conf_near_try(&near, kinds[i]->type);
    buf_printf(err, "%.*s: unsupported table type", (int)spec.n, spec.p);
    if (near.best != NULL)
        buf_printf(err, "; did you mean %s?", near.best);
    mem_free(name);
}

static void table_free(struct table *t)
{
    t->kind->close(t);
    complaint_release(&t->complaint);
    mem_free(t->name);
    mem_free(t);
}

static struct table *open_new(struct tables *ts, struct slice spec, struct buf *err)
{
    size_t colon = slice_find(spec, ':');
    const struct table_kind *kind;
    struct table *t;

    if (colon == SLICE_NOT_FOUND || colon + 1 == spec.n) {
        buf_printf(err, "%.*s: a table is written type:name", (int)spec.n, spec.p);
        return NULL;
    }
    kind = kind_of(slice_head(spec, colon));
    if (kind == NULL) {
        complain_of_type(spec, slice_head(spec, colon), err);
        return NULL;
    }
    t = mem_new(kind->size);
    t->kind = kind;
    t->tables = ts;
    t->name = mem_dup(spec.p, spec.n);
    t->fixed = true;
    map_put(&ts->by_name, spec, t); /* before it opens others, which may name it */
    if (kind->open(t, t->name + colon + 1, err))
        return t;
    map_remove(&ts->by_name, spec);
    table_free(t);
    return NULL;
}

struct table *tables_open(struct tables *ts, const char *text, struct buf *err)
{
    struct slice spec = slice_trim(slice_str(text));
    struct table *t;

    while (slice_starts(spec, SLICE_LIT("proxy:")))
        spec = slice_from(spec, strlen("proxy:"));
    t = map_get(&ts->by_name, spec);
    if (t != NULL)
        return t;
    if (ts->depth >= DEPTH_MAX) {
        buf_printf(err, "%.*s: tables within tables too deep", (int)spec.n, spec.p);
        return NULL;
    }
    ts->depth++;
    t = open_new(ts, spec, err);
    ts->depth--;
    return t;
}

void tables_free(struct tables **tsp)
{
    struct tables *ts = *tsp;
    struct slice key;
    void *t;

    if (ts == NULL)
        return;
    *tsp = NULL;
    for (size_t at = 0; map_next(&ts->by_name, &at, &key, &t);)
        table_free(t);
    map_clear(&ts->by_name);
    LIST_FOREACH(it, &ts->in_flight)
    table_failed_quietly(LIST_ITEM(it, struct table_op, in_flight), "the tables were closed");
    mysql_pools_free(&ts->mysql);
    mem_free(ts);
}

const char *table_name(const struct table *t)
{
    return t->name;
}

bool table_is_fixed(const struct table *t)
{
    return t->fixed;
}

bool table_check(struct table *t, struct buf *report)
{
    return t->kind->check == NULL || t->kind->check(t, report);
}

bool tables_check(struct tables *ts, struct buf *report)
{
    struct slice name;
    void *t;
    bool ok = true;

    for (size_t at = 0; map_next(&ts->by_name, &at, &name, &t);)
        ok = table_check(t, report) && ok;
    return ok;
}

void tables_each(const struct tables *ts, void (*found)(void *ctx, struct table *), void *ctx)
{
    struct slice name;
    void *t;

    for (size_t at = 0; map_next(&ts->by_name, &at, &name, &t);)
        found(ctx, t);
}
