/*
 * Names that mean something without being a row: params_known.def, <transport>_... of transports to come, and
 * parameters that the user made up and uses as $name. Called by conf_check_names.c and conf_show.c.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

const struct conf_known conf_known[] = {
#define KNOWN(kind, name, def, text)        {#name, CONF_KNOWN_##kind, false, def, NULL, text},
#define KNOWN_SUFFIX(kind, name, def, text) {#name, CONF_KNOWN_##kind, true, def, NULL, text},
#define KNOWN_CLIENT(kind, suffix, def, text)                                                                          \
    {"smtp_" #suffix, CONF_KNOWN_##kind, false, def, NULL, text},                                                      \
        {"lmtp_" #suffix, CONF_KNOWN_##kind, false, def, NULL, text},
#define KNOWN_DEMAND(name, def, harmless, text) {#name, CONF_KNOWN_DEMAND, false, def, harmless, text},
#include "core/conf/params_known.def"
#undef KNOWN
#undef KNOWN_SUFFIX
#undef KNOWN_CLIENT
#undef KNOWN_DEMAND
};
const size_t conf_nknown = ARRAY_LEN(conf_known);

static const char *const transports_to_come[] = {"local"};

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

/* A service of master.cf that is no transport here may have parameters of its own too: policyd-spf_time_limit. */
static bool is_service(const struct conf_view *v, struct slice name)
{
    for (size_t i = 0; i < v->source->nservices; i++)
        if (slice_eq(name, slice_str(v->source->services[i].name)))
            return true;
    return false;
}

static bool has_parameters(const struct conf_view *v, struct slice transport)
{
    return transport.n > 0 &&
           (conf_transport_to_come(transport) || conf_view_has_transport(v, transport) || is_service(v, transport));
}

static const struct conf_known *known_of_transport(const struct conf_view *v, const char *name)
{
    if (conf_view_dynamic(v, name) != NULL)
        return NULL;
    for (size_t i = 0; i < conf_nknown; i++)
        if (conf_known[i].suffix && has_parameters(v, before_suffix(name, conf_known[i].name)))
            return &conf_known[i];
    return NULL;
}

const struct conf_known *conf_known_find(const struct conf_view *v, const char *name)
{
    for (size_t i = 0; i < conf_nknown; i++)
        if (!conf_known[i].suffix && strcmp(conf_known[i].name, name) == 0)
            return &conf_known[i];
    return known_of_transport(v, name);
}

const char *conf_known_text(const struct conf_known *k, struct arena *a)
{
    switch (k->kind) {
    case CONF_KNOWN_EQUIVALENT: return arena_printf(a, "no parameter here: %s", k->text);
    case CONF_KNOWN_HARMLESS: return arena_printf(a, "means nothing here: %s", k->text);
    case CONF_KNOWN_LATER: return arena_printf(a, "not supported yet: %s", k->text);
    case CONF_KNOWN_DEMAND: return arena_printf(a, "not supported yet: without it %s", k->text);
    default: return arena_printf(a, "not supported: %s", k->text);
    }
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

/* smtpd_restriction_classes lists names that are parameters from then on. */
static bool is_restriction_class(const struct conf_source *source, const char *name)
{
    const struct conf_assignment *classes =
        source->nsections > 0 ? conf_section_get(&source->sections[0], "smtpd_restriction_classes") : NULL;
    struct slice rest = slice_str(classes != NULL ? classes->value : "");

    for (struct slice word; (word = slice_token(&rest, " \t\r\n,")).n > 0;)
        if (slice_eq(word, slice_str(name)))
            return true;
    return false;
}

bool conf_name_used(const struct conf_source *source, const char *name)
{
    struct search s = {.name = name, .found = is_restriction_class(source, name)};

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
    for (size_t i = 0; i < conf_nknown; i++)
        if (conf_known[i].suffix)
            conf_near_try(near, arena_printf(a, "%s_%s", transport, conf_known[i].name));
}

const char *conf_name_nearest(const struct conf_view *v, const char *name)
{
    struct conf_near near = {.name = name};

    for (size_t i = 0; i < conf_nrows; i++)
        conf_near_try(&near, conf_rows[i].name);
    for (size_t i = 0; i < conf_nknown; i++)
        if (!conf_known[i].suffix)
            conf_near_try(&near, conf_known[i].name);
    for (size_t i = 0; i < conf_nbuiltins; i++)
        try_transport(&near, v->arena, conf_builtins[i].name);
    for (size_t i = 0; i < ARRAY_LEN(transports_to_come); i++)
        try_transport(&near, v->arena, transports_to_come[i]);
    for (size_t i = 1; i < v->source->nsections; i++)
        if (v->source->sections[i].kind == CONF_SECTION_TRANSPORT)
            try_transport(&near, v->arena, v->source->sections[i].name);
    return near.best;
}
