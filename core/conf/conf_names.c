/*
 * Names that mean something without being a row: params_known.def, <transport>_... of transports to come, and
 * parameters that the user made up and uses as $name. Called by conf_check_names.c and conf_show.c.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

static const struct conf_known known[] = {
#define KNOWN_IGNORED(name)               {#name, CONF_KNOWN_IGNORED, NULL, NULL},
#define KNOWN_LATER(name)                 {#name, CONF_KNOWN_LATER, NULL, NULL},
#define KNOWN_DEMAND(name, harmless, why) {#name, CONF_KNOWN_DEMAND, harmless, why},
#define KNOWN_SUFFIX(name)
#include "core/conf/params_known.def"
#undef KNOWN_IGNORED
#undef KNOWN_LATER
#undef KNOWN_DEMAND
#undef KNOWN_SUFFIX
};

static const char *const suffixes[] = {
#define KNOWN_IGNORED(name)
#define KNOWN_LATER(name)
#define KNOWN_DEMAND(name, harmless, why)
#define KNOWN_SUFFIX(name) #name,
#include "core/conf/params_known.def"
};

static const char *const transports_to_come[] = {"smtp", "relay", "lmtp", "local"};

bool conf_transport_to_come(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(transports_to_come); i++)
        if (slice_eq(name, slice_str(transports_to_come[i])))
            return true;
    return false;
}

/* "<transport>_<suffix>": the transport; empty when the name does not end so. */
static struct slice before_suffix(const char *name, const char *suffix)
{
    struct slice all = slice_str(name);
    size_t n = strlen(suffix);

    if (all.n < n + 2 || strcmp(name + all.n - n, suffix) != 0 || name[all.n - n - 1] != '_')
        return SLICE_EMPTY;
    return slice_head(all, all.n - n - 1);
}

static bool transport_parameter_to_come(const struct conf_view *v, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        struct slice transport = before_suffix(name, suffixes[i]);

        if (transport.n > 0 && (conf_transport_to_come(transport) || conf_view_has_transport(v, transport)))
            return true;
    }
    for (size_t i = 0; i < conf_ndynamic_rows; i++) {
        struct slice transport = before_suffix(name, conf_dynamic_rows[i].name);

        if (conf_transport_to_come(transport) && !conf_view_has_transport(v, transport))
            return true;
    }
    return false;
}

const struct conf_known *conf_known_find(const struct conf_view *v, const char *name)
{
    static const struct conf_known of_transport = {"", CONF_KNOWN_LATER, NULL, NULL};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].name, name) == 0)
            return &known[i];
    return transport_parameter_to_come(v, name) ? &of_transport : NULL;
}

bool conf_name_known(const struct conf_view *v, const char *name)
{
    return conf_row_find(name) != NULL || conf_view_dynamic(v, name) != NULL || conf_known_find(v, name) != NULL;
}

bool conf_value_off(const char *text)
{
    static const char *const words[] = {"", "no", "none", "0", "0s", "0m", "0h", "0d"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (slice_ieq(slice_str(text), slice_str(words[i])))
            return true;
    return false;
}

/* ---- use as $name ---- */

struct search {
    const char *name;
    bool found;
};

static void match(void *ctx, const char *name, bool tested)
{
    struct search *s = ctx;

    (void)tested;
    s->found = s->found || strcmp(s->name, name) == 0;
}

static void search_section(struct search *s, const struct conf_section *section)
{
    for (size_t i = 0; i < section->n && !s->found; i++) {
        const struct conf_assignment *a = &section->items[i];
        const struct conf_row *row = section->kind == CONF_SECTION_TRANSPORT ? conf_transport_row_find(a->name) : NULL;

        if (row == NULL || !row->verbatim)
            conf_expand_scan(a->value, match, s);
    }
}

bool conf_name_used(const struct conf_source *source, const char *name)
{
    struct search s = {.name = name};

    for (size_t i = 0; i < source->nsections; i++)
        search_section(&s, &source->sections[i]);
    for (size_t i = 0; i < conf_nrows && !s.found; i++)
        if (conf_rows[i].def != NULL)
            conf_expand_scan(conf_rows[i].def, match, &s);
    return s.found;
}

/* ---- the nearest ---- */

static void try_transport(struct conf_near *near, struct arena *a, const char *transport)
{
    for (size_t i = 0; i < conf_ndynamic_rows; i++)
        conf_near_try(near, arena_printf(a, "%s_%s", transport, conf_dynamic_rows[i].name));
}

const char *conf_name_nearest(const struct conf_view *v, const char *name)
{
    struct conf_near near = {.name = name};

    for (size_t i = 0; i < conf_nrows; i++)
        conf_near_try(&near, conf_rows[i].name);
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        conf_near_try(&near, known[i].name);
    for (size_t i = 0; i < conf_nbuiltins; i++)
        try_transport(&near, v->arena, conf_builtins[i].name);
    for (size_t i = 1; i < v->source->nsections; i++)
        if (v->source->sections[i].kind == CONF_SECTION_TRANSPORT)
            try_transport(&near, v->arena, v->source->sections[i].name);
    return near.best;
}
