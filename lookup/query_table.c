/*
 * The way of a lookup in a mysql: or sqlite: table up to the database: the query file is looked at when that is due,
 * the `domain` list is asked (which may hold tables of its own), the templates say whether the key is worth a query.
 */
#include "lookup/query_table.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "lookup/matchlist.h"

#include <sys/stat.h>

/* A lookup whose domain is being matched. */
struct matching {
    struct list link;
    struct query_table *table;
    struct table_op *o;
};

/* For those who look: what is sent to the server is quoted by its own library. */
static void quote_plainly(void *ctx, struct buf *out, struct slice text)
{
    (void)ctx;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\'')
            buf_add_char(out, '\'');
        buf_add_char(out, text.p[i]);
    }
}

static void show_query(const struct query_table *t, struct table_op *o)
{
    struct buf query = {0};

    query_template_expand(t->file->templates, slice_str(o->key), quote_plainly, NULL, &query);
    o->query = mem_strdup(buf_cstr(&query));
    buf_release(&query);
}

static void ask_if_qualified(struct query_table *t, struct table_op *o)
{
    if (o->trace != NULL && query_template_qualifies(t->file->templates, slice_str(o->key)))
        show_query(t, o);
    if (query_template_qualifies(t->file->templates, slice_str(o->key)))
        t->backend->ask(t, o);
    else
        table_notfound(o);
}

static void on_matched(void *owner, enum op_status status, const void *result)
{
    struct matching *m = owner;
    const struct table_answer *answer = result;
    struct query_table *t = m->table;
    struct table_op *o = m->o;

    list_remove(&m->link);
    mem_free(m);
    if (status == OP_OK)
        ask_if_qualified(t, o);
    else if (status == OP_NOTFOUND)
        table_notfound(o);
    else
        table_failed_quietly(o, answer->why);
}

/* Only addresses with a local part and a listed domain are asked for. */
static void match_domain(struct query_table *t, struct table_op *o)
{
    struct slice key = slice_str(o->key), domain;
    size_t at = slice_rfind(key, '@');
    int matched = 0;

    domain = slice_from(key, at == SLICE_NOT_FOUND ? key.n : at + 1);
    if (at != 0 && domain.n > 0)
        matched = matchlist_match_now(t->domain, domain);
    if (matched > 0) {
        ask_if_qualified(t, o);
    } else if (matched == 0) {
        table_notfound(o);
    } else {
        struct matching *m = NEW(struct matching);

        m->table = t;
        m->o = o;
        list_append(&t->matching, &m->link);
        matchlist_match(t->domain, &t->scope, domain, on_matched, m);
    }
}

static void go_on(struct query_table *t, struct table_op *o)
{
    if (t->file == NULL) {
        char *why = mem_printf("%s: %s", t->table.name, file_source_why(t->source));

        table_failed_quietly(o, why); /* the source has logged it */
        mem_free(why);
    } else if (t->domain_error != NULL) {
        table_failed(o, t->domain_error);
    } else if (t->domain != NULL) {
        match_domain(t, o);
    } else {
        ask_if_qualified(t, o);
    }
}

/* ---- the query file ---- */

static struct matchlist *make_domain(struct query_table *t, const struct query_file *file, struct buf *err)
{
    return matchlist_new(t->table.tables, file->domain, MATCHLIST_STRING, err);
}

static void set_domain(struct query_table *t)
{
    struct buf err = {0};

    op_scope_cancel(&t->scope); /* matches hold on to the list */
    matchlist_free(&t->domain);
    mem_free(t->domain_error);
    t->domain_error = NULL;
    if (t->file->domain != NULL && (t->domain = make_domain(t, t->file, &err)) == NULL)
        t->domain_error = mem_printf("domain: %s", buf_cstr(&err));
    buf_release(&err);
}

/* Takes the content of the query file when it is another one. */
static void refresh(struct query_table *t)
{
    struct query_file *now = file_source_content(t->source);
    struct list again, *it;

    if (now == t->file)
        return;
    query_file_unref(&t->file);
    t->file = query_file_ref(now);
    set_domain(t);
    t->backend->changed(t);
    list_init(&again);
    list_splice(&again, &t->matching);
    while ((it = list_shift(&again)) != NULL) {
        struct matching *m = LIST_ITEM(it, struct matching, link);

        go_on(t, m->o);
        mem_free(m);
    }
}

static void on_checked(void *owner)
{
    struct query_table *t = owner;
    struct list *it;

    refresh(t);
    while ((it = list_shift(&t->waiting)) != NULL)
        go_on(t, LIST_ITEM(it, struct table_op, link));
}

/* ---- for the kinds ---- */

void query_table_open(struct query_table *t, const char *path, const struct query_backend *backend)
{
    t->backend = backend;
    list_init(&t->waiting);
    list_init(&t->matching);
    op_scope_init(&t->scope, "query table");
    t->source = file_source_new(t->table.tables->loop, backend->source, path, t->table.name, on_checked, t);
    refresh(t);
}

void query_table_lookup(struct table *table, struct table_op *o)
{
    struct query_table *t = (struct query_table *)table;

    if (file_source_ready(t->source))
        go_on(t, o);
    else
        list_append(&t->waiting, &o->link);
}

static void check_rights(const char *path, const struct query_file *file, struct buf *report)
{
    struct stat st;

    if (file->password != NULL && stat(path, &st) == 0 && (st.st_mode & S_IROTH))
        buf_printf(report, "warning: %s: holds a password and can be read by everyone\n", path);
}

static bool check_domain(struct query_table *t, const char *path, const struct query_file *file, struct buf *report)
{
    struct buf err = {0};
    struct slice rest, line;
    struct matchlist *list;
    bool ok;

    if (file->domain == NULL)
        return true;
    list = make_domain(t, file, &err);
    ok = list != NULL;
    matchlist_free(&list);
    rest = buf_slice(&err);
    while ((line = slice_token(&rest, "\n")).n > 0)
        buf_printf(report, "%s: domain: %.*s\n", path, (int)line.n, line.p);
    buf_release(&err);
    return ok;
}

struct query_file *query_table_check(struct query_table *t, struct buf *report)
{
    const char *path = strchr(t->table.name, ':') + 1;
    struct query_file *file = file_source_read(t->backend->source, path, report);

    if (file == NULL)
        return NULL;
    check_rights(path, file, report);
    if (!check_domain(t, path, file, report))
        query_file_unref(&file);
    return file;
}

void query_table_close(struct query_table *t)
{
    struct list *it;

    op_scope_close(&t->scope);
    while ((it = list_shift(&t->matching)) != NULL)
        mem_free(LIST_ITEM(it, struct matching, link));
    while (list_shift(&t->waiting) != NULL)
        ;
    matchlist_free(&t->domain);
    mem_free(t->domain_error);
    file_source_free(&t->source);
    query_file_unref(&t->file);
}

void query_table_answer(struct table_op *o, struct query_answer *a)
{
    if (a->empty_value)
        log_event(LOG_TABLE_WARNING, NULL, "%s: an empty value for \"%s\" was ignored", o->table->name, o->key);
    if (a->error != NULL)
        table_failed(o, a->error);
    else if (buf_len(&a->text) > 0)
        table_found(o, buf_slice(&a->text));
    else
        table_notfound(o);
}
