/*
 * Lists of tables: see maps.h. A search is a list of keys, most specific first, each asked in all tables before the
 * next; what differs between virtual(5), transport(5) and a plain look-up is only which keys there are. The rules ask
 * (aliases, recipients, routes), and so do delivery agents for their own maps.
 *
 * A search is one op that holds the scope of the table look-up it waits for. When nobody waits for it any more it ends
 * with the answer under way, without a look at the tables, which may be closed by then.
 */
#include "lookup/maps.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/base/arena.h"

struct maps {
    struct loop *loop;
    struct table **tables;
    size_t count;
};

struct find {
    struct op op;
    struct op_scope scope;
    struct arena arena;
    const struct maps *maps;
    struct maps_key *keys;
    size_t nkeys, key, table; /* where we are */
    bool plain;               /* maps_find: the result is a table_answer */
    struct table_answer answer;
    struct maps_address_answer address_answer;
};

struct slice maps_list_item(struct slice *rest)
{
    const char *seps = ", \t\r\n";
    struct slice item;
    int depth = 0;

    while (rest->n > 0 && strchr(seps, rest->p[0]) != NULL)
        *rest = slice_from(*rest, 1);
    item = slice_make(rest->p, 0);
    for (; item.n < rest->n; item.n++) {
        char c = rest->p[item.n];

        if (depth == 0 && strchr(seps, c) != NULL)
            break;
        if (c == '{')
            depth++;
        else if (c == '}' && depth > 0)
            depth--;
    }
    *rest = slice_from(*rest, item.n);
    return item;
}

struct maps *maps_new(struct tables *tables, const char *list, struct buf *err)
{
    struct maps *m = NEW(struct maps);
    struct slice rest = slice_str(list), item;
    bool ok = true;

    m->loop = tables_loop(tables);
    while ((item = maps_list_item(&rest)).n > 0) {
        char *spec = mem_dup(item.p, item.n);
        struct table *t = tables_open(tables, spec, err);

        mem_free(spec);
        if (t == NULL) {
            buf_add_char(err, '\n');
            ok = false;
        }
        m->tables = mem_resize(m->tables, (m->count + 1) * sizeof(struct table *));
        m->tables[m->count++] = t;
    }
    if (!ok)
        maps_free(&m);
    return m;
}

void maps_free(struct maps **mp)
{
    struct maps *m = *mp;

    if (m == NULL)
        return;
    *mp = NULL;
    mem_free(m->tables);
    mem_free(m);
}

bool maps_empty(const struct maps *m)
{
    return m->count == 0;
}

/* ---- the search ---- */

static void release(struct op *op)
{
    struct find *f = (struct find *)op;

    op_scope_close(&f->scope);
    arena_clear(&f->arena);
    mem_free(f);
}

static void abandoned(struct op *op)
{
    op_scope_close(&((struct find *)op)->scope);
    op_finish(op, OP_NOTFOUND, NULL);
}

static void finish(struct find *f, enum op_status status, const char *value, const char *why)
{
    const struct maps_key *key = f->key < f->nkeys ? &f->keys[f->key] : NULL;

    f->answer = (struct table_answer){.value = value, .why = why};
    f->address_answer = (struct maps_address_answer){
        .value = value,
        .extension = key != NULL && key->extension != NULL ? key->extension : "",
        .key = key != NULL ? key->text : "",
        .why = why,
    };
    op_finish(&f->op, status, f->plain ? (const void *)&f->answer : &f->address_answer);
}

static void ask(struct find *f);

static void on_answer(void *owner, enum op_status status, const void *result)
{
    struct find *f = owner;
    const struct table_answer *answer = result;

    if (status == OP_NOTFOUND) {
        f->table++;
        ask(f);
    } else if (status == OP_OK) {
        finish(f, OP_OK, arena_strdup(&f->arena, answer->value), NULL);
    } else {
        const char *why = answer != NULL && answer->why != NULL ? answer->why : "timed out";

        finish(f, OP_TEMPFAIL, NULL, arena_strdup(&f->arena, why));
    }
}

/* Asks the next table that has something to say about a key. */
static void ask(struct find *f)
{
    for (; f->key < f->nkeys; f->key++, f->table = 0) {
        const struct maps_key *key = &f->keys[f->key];

        for (; f->table < f->maps->count; f->table++) {
            struct table *t = f->maps->tables[f->table];

            if (key->partial && !table_is_fixed(t))
                continue;
            table_lookup(t, &f->scope, slice_str(key->text), on_answer, f);
            return;
        }
    }
    finish(f, OP_NOTFOUND, NULL, NULL);
}

static struct find *find_new(const struct maps *m, struct op_scope *scope, size_t max_keys, op_done_fn *done,
                             void *owner)
{
    struct find *f = NEW(struct find);

    f->maps = m;
    f->keys = arena_new_array(&f->arena, max_keys, sizeof *f->keys);
    op_scope_init_within(&f->scope, "maps", scope);
    op_start(&f->op, m->loop, scope, "maps", 0, done, owner, release);
    f->op.abandoned = abandoned;
    return f;
}

void maps_find(const struct maps *m, struct op_scope *scope, struct slice key, op_done_fn *done, void *owner)
{
    struct find *f = find_new(m, scope, 1, done, owner);

    f->plain = true;
    f->keys[f->nkeys++].text = arena_slice_dup(&f->arena, key);
    ask(f);
}

void maps_find_keys(const struct maps *m, struct op_scope *scope, const struct maps_key *keys, size_t count,
                    op_done_fn *done, void *owner)
{
    struct find *f = find_new(m, scope, count, done, owner);

    for (size_t i = 0; i < count; i++) {
        struct maps_key *key = &f->keys[f->nkeys++];

        *key = keys[i];
        key->text = arena_strdup(&f->arena, key->text);
        key->extension = key->extension != NULL ? arena_strdup(&f->arena, key->extension) : NULL;
    }
    ask(f);
}

/* ---- the keys of virtual(5) ---- */

#define ADDRESS_KEYS_MAX 9 /* four addresses in two forms each, and the domain */

static void add_key(struct find *f, const char *text, const char *extension, bool partial)
{
    f->keys[f->nkeys++] = (struct maps_key){.text = text, .extension = extension, .partial = partial};
}

/* A local part with what follows it, "" or "@domain": as it would be quoted in a message, then as it is. */
static void add_address(struct find *f, struct slice local, struct slice rest, const char *extension, bool partial)
{
    struct buf text = {0}, quoted = {0};

    buf_add_slice(&text, local);
    buf_add_slice(&text, rest);
    if (addr_needs_quotes(buf_slice(&text))) {
        addr_quote(&quoted, buf_slice(&text));
        add_key(f, arena_slice_dup(&f->arena, buf_slice(&quoted)), extension, partial);
    }
    add_key(f, arena_slice_dup(&f->arena, buf_slice(&text)), extension, partial);
    buf_release(&text);
    buf_release(&quoted);
}

void maps_find_address(const struct maps *m, struct op_scope *scope, const char *address,
                       const struct maps_address_opts *opts, op_done_fn *done, void *owner)
{
    struct find *f = find_new(m, scope, ADDRESS_KEYS_MAX, done, owner);
    struct addr_parts parts = addr_split(slice_str(address));
    struct slice user, extension, rest;
    bool split = addr_split_extension(parts.local, opts->recipient_delimiter, &user, &extension);
    const char *ext = arena_slice_dup(&f->arena, extension);

    rest = slice_from(slice_str(address), parts.local.n);
    if (parts.local.n > 0) {
        add_address(f, parts.local, rest, "", false);
        if (split)
            add_address(f, user, rest, ext, true);
        if (parts.has_domain && opts->bare_user) {
            add_address(f, parts.local, SLICE_EMPTY, "", true);
            if (split)
                add_address(f, user, SLICE_EMPTY, ext, true);
        }
    }
    if (parts.has_domain)
        add_key(f, arena_slice_dup(&f->arena, rest), "", true);
    ask(f);
}
