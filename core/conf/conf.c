/*
 * The snapshot: every field from its text, for the file and for each listener. Called by main at start and by
 * `mta --check-config`. A snapshot, the views of its listeners and all their strings are one arena with one reference
 * count.
 */
#include "core/conf/conf_int.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#include <stdarg.h>

#define STORE_MAGIC 0x434f4e46u

struct conf_store {
    uint32_t magic;
    unsigned refs;
    struct arena arena; /* the views, the listeners, the transports, all strings */
};

/* ---- complaints ---- */

static void complain_at(const struct conf_build *b, const struct conf_assignment *at, enum conf_severity severity,
                        const char *name, const char *text)
{
    conf_report_add(b->report, severity, at != NULL ? at->file : b->source->path, at != NULL ? at->line : 0, "%s: %s",
                    name, text);
}

void conf_complain(const struct conf_build *b, const struct conf_view *v, enum conf_severity severity, const char *name,
                   const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    complain_at(b, conf_view_find(v, name), severity, name, buf_cstr(&text));
    buf_release(&text);
}

void conf_complain_failure(const struct conf_build *b, const struct conf_view *v, const char *name,
                           const struct conf_failure *failure)
{
    const struct conf_assignment *at = conf_view_find(v, failure->culprit);

    if (at != NULL)
        complain_at(b, at, CONF_SEVERITY_ERROR, failure->culprit, failure->text);
    else
        complain_at(b, conf_view_find(v, name), CONF_SEVERITY_ERROR, name, failure->text);
}

/* ---- places ---- */

struct conf_setting {
    const char *name;
    struct conf_place place;
};

static size_t add_settings(const struct conf_build *b, const struct conf_section *from, struct conf_setting *to)
{
    const char *file = arena_strdup(b->arena, from->file);

    for (size_t i = 0; i < from->n; i++)
        to[i] = (struct conf_setting){arena_strdup(b->arena, from->items[i].name), {file, from->items[i].line}};
    return from->n;
}

/* A listener's own settings come first, so that they are found first. */
static void remember_places(const struct conf_build *b, struct conf *out, const struct conf_section *listener)
{
    const struct conf_section *main_section = &b->source->sections[0];
    size_t most = main_section->n + (listener != NULL ? listener->n : 0), n = 0;
    struct conf_setting *all = arena_new_array(b->arena, most, sizeof *all);

    if (listener != NULL)
        n = add_settings(b, listener, all);
    out->nsettings = n + add_settings(b, main_section, all + n);
    out->settings = all;
}

bool conf_where(const struct conf *conf, struct slice name, struct conf_place *place)
{
    for (size_t i = 0; i < conf->nsettings; i++)
        if (slice_eq(name, slice_str(conf->settings[i].name))) {
            *place = conf->settings[i].place;
            return true;
        }
    return false;
}

/* ---- fields ---- */

struct conf_view conf_build_view(const struct conf_build *b, const struct conf_section *listener)
{
    return (struct conf_view){b->source, listener, b->machine, b->arena};
}

/* The default in place of a text that is wrong; "" when the default does not work out either. */
static void fill_default(const struct conf_build *b, const struct conf_view *v, const struct conf_row *row,
                         struct conf *out)
{
    struct conf_expansion x = {.view = v};
    struct conf_failure failure;
    const char *text = row->def;
    char why[500];

    if (text == NULL && !conf_default_compute(&x, row->name, &text))
        text = NULL;
    if (text != NULL)
        text = conf_view_text(v, text, &failure);
    if ((text == NULL || !conf_value_set(row, out, text, b->arena, why, sizeof why)) && row->type == CONF_TYPE_STR)
        conf_value_set(row, out, "", b->arena, why, sizeof why);
}

static void fill_row(const struct conf_build *b, const struct conf_view *v, const struct conf_row *row,
                     struct conf *out)
{
    struct conf_failure failure;
    const char *text = conf_view_value(v, row->name, &failure);
    char why[500];

    if (text != NULL && conf_value_set(row, out, text, b->arena, why, sizeof why))
        return;
    if (text == NULL)
        conf_complain_failure(b, v, row->name, &failure);
    else
        conf_complain(b, v, CONF_SEVERITY_ERROR, row->name, "%s", why);
    fill_default(b, v, row, out);
}

/*
 * What is set goes first: a default that does not work out is the consequence of something set, and is told only when
 * nothing else was.
 */
void conf_fill(const struct conf_build *b, struct conf *out, const struct conf_section *listener)
{
    struct conf_view v = conf_build_view(b, listener);
    struct conf_report unsaid = {0};
    struct conf_build quiet = *b;

    for (size_t i = 0; i < conf_nrows; i++)
        if (conf_view_find(&v, conf_rows[i].name) != NULL)
            fill_row(b, &v, &conf_rows[i], out);
    if (b->report->nerrors > 0)
        quiet.report = &unsaid;
    for (size_t i = 0; i < conf_nrows; i++)
        if (conf_view_find(&v, conf_rows[i].name) == NULL)
            fill_row(&quiet, &v, &conf_rows[i], out);
    conf_report_clear(&unsaid);
    conf_restrict(b, &v, out);
    remember_places(b, out, listener);
}

/* ---- snapshots ---- */

static struct conf *conf_new(void)
{
    struct conf_store *store = NEW(struct conf_store);
    struct conf *conf = ARENA_NEW(&store->arena, struct conf);

    store->magic = STORE_MAGIC;
    store->refs = 1;
    conf->store = store;
    return conf;
}

const struct conf *conf_ref(const struct conf *conf)
{
    OBJ_CHECK(conf->store, STORE_MAGIC);
    conf->store->refs++;
    return conf;
}

void conf_unref(const struct conf **conf)
{
    struct conf_store *store;

    if (*conf == NULL)
        return;
    store = (*conf)->store;
    *conf = NULL;
    OBJ_CHECK(store, STORE_MAGIC);
    if (--store->refs > 0)
        return;
    arena_clear(&store->arena);
    store->magic = 0;
    mem_free(store);
}

const struct conf *conf_build_snapshot(const struct conf_source *source, const struct conf_machine *machine,
                                       struct conf_report *report)
{
    struct conf *conf = conf_new();
    const struct conf *answer = conf;
    struct conf_build b = {source, machine, report, &conf->store->arena, conf};

    conf->path = arena_strdup(b.arena, source->path);
    conf_fill(&b, conf, NULL);
    conf_build_transports(&b);
    conf_build_listeners(&b);
    conf_check(&b);
    conf_check_names(&b);
    conf_check_traps(&b);
    conf_report_sort(report);
    if (report->nerrors > 0)
        conf_unref(&answer);
    return answer;
}

const struct conf *conf_load(const char *path, struct conf_report *report)
{
    struct conf_source source = {0};
    struct conf_machine machine = {0};
    const struct conf *conf = NULL;

    if (conf_parse_file(path, &source, report)) {
        conf_machine_load(&machine);
        conf = conf_build_snapshot(&source, &machine, report);
        conf_machine_clear(&machine);
    }
    conf_source_clear(&source);
    return conf;
}

const struct conf_transport *conf_transport_find(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->ntransports; i++)
        if (strcmp(conf->transports[i].name, name) == 0)
            return &conf->transports[i];
    return NULL;
}

bool conf_transport_used(const struct conf *conf, const struct conf_transport *t)
{
    const char *const values[] = {conf->local_transport, conf->virtual_transport, conf->relay_transport,
                                  conf->default_transport};

    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (slice_eq(slice_head(slice_str(values[i]), slice_find(slice_str(values[i]), ':')), slice_str(t->name)))
            return true;
    return false;
}

bool conf_is_own_address(const struct conf *conf, const char *address)
{
    struct conf_address wanted, own;

    if (!conf_address_parse(slice_str(address), &wanted))
        return false;
    for (size_t i = 0; i < conf->nown_addresses; i++)
        if (conf_address_parse(slice_str(conf->own_addresses[i]), &own) && own.family == wanted.family &&
            memcmp(own.bytes, wanted.bytes, sizeof own.bytes) == 0)
            return true;
    return false;
}
