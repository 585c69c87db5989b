/*
 * struct conf_client of a transport of type smtp or lmtp: each parameter smtp_... or lmtp_... as the transport's own
 * settings and then the file's have it. Called by conf_transport.c. Own settings are "-o name=value" in master.cf and
 * the like without "-o" in a [transport] section; what other parameters refer to by $name counts, too, so that
 * "-o myhostname=..." changes the name in EHLO.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

/* For each field of struct conf_client the parameters that it comes from; NULL: there is none. */
static const struct field {
    const char *smtp, *lmtp;
    size_t offset;
} fields[] = {
#define AT_BOOL(name)                                       offsetof(struct conf_client, name)
#define AT_INT(name)                                        offsetof(struct conf_client, name)
#define AT_STR(name)                                        offsetof(struct conf_client, name)
#define AT_ENUM(name)                                       offsetof(struct conf_client, name)
#define AT_DURATION(name)                                   offsetof(struct conf_client, name##_ms)
#define CLIENT(name, TYPE, def, limits, doc)                {"smtp_" #name, "lmtp_" #name, AT_##TYPE(name)},
#define CLIENT_ENUM(name, def, words, doc)                  {"smtp_" #name, "lmtp_" #name, AT_ENUM(name)},
#define CLIENT_AS(name, smtp, lmtp, TYPE, def, limits, doc) {#smtp, #lmtp, AT_##TYPE(name)},
#define CLIENT_SMTP(name, TYPE, def, limits, doc)           {"smtp_" #name, NULL, AT_##TYPE(name)},
#define CLIENT_LMTP(name, TYPE, def, limits, doc)           {NULL, "lmtp_" #name, AT_##TYPE(name)},
#include "core/conf/params_client.def"
#undef CLIENT
#undef CLIENT_ENUM
#undef CLIENT_AS
#undef CLIENT_SMTP
#undef CLIENT_LMTP
};

static const char *parameter(const struct field *f, enum conf_transport_type type)
{
    return type == CONF_TRANSPORT_TYPE_LMTP ? f->lmtp : f->smtp;
}

bool conf_client_takes(enum conf_transport_type type, const char *name)
{
    if (type != CONF_TRANSPORT_TYPE_SMTP && type != CONF_TRANSPORT_TYPE_LMTP)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const char *own = parameter(&fields[i], type);

        if (own != NULL && strcmp(own, name) == 0)
            return true;
    }
    return strcmp(name, "syslog_name") == 0 || strcmp(name, "myhostname") == 0;
}

/* The section's settings without what is a transport's only: the innermost scope for names. */
static struct conf_section *scope_of(const struct conf_build *b, const struct conf_section *section)
{
    struct conf_section *scope = ARENA_NEW(b->arena, struct conf_section);

    *scope = *section;
    scope->items = arena_new_array(b->arena, section->n, sizeof *scope->items);
    scope->n = 0;
    for (size_t i = 0; i < section->n; i++) {
        struct conf_assignment a = section->items[i];

        if (slice_starts(slice_str(a.name), SLICE_LIT("-o ")))
            a.name += strlen("-o ");
        else if (conf_row_find(a.name) == NULL)
            continue;
        scope->items[scope->n++] = a;
    }
    scope->cap = scope->n;
    return scope;
}

/* A text that is wrong was complained about where the file's own view was filled, unless it is the transport's. */
static void fill_field(const struct conf_build *b, const struct conf_view *v, const char *name, size_t offset,
                       struct conf_client *c)
{
    struct conf_row row = *conf_row_find(name);
    struct conf_failure failure;
    const char *text = conf_view_value(v, name, &failure);
    char why[500];

    row.offset = offset;
    if (text != NULL && conf_value_set(&row, c, text, b->arena, why, sizeof why))
        return;
    if (v->listener != NULL && conf_section_get(v->listener, name) != NULL) {
        if (text == NULL)
            conf_complain_failure(b, v, name, &failure);
        else
            conf_complain(b, v, CONF_SEVERITY_ERROR, name, "%s", why);
    }
    if (row.type == CONF_TYPE_STR)
        conf_value_set(&row, c, "", b->arena, why, sizeof why);
}

const struct conf_client *conf_build_client(const struct conf_build *b, const struct conf_section *section,
                                            enum conf_transport_type type)
{
    struct conf_client *c = ARENA_NEW(b->arena, struct conf_client);
    struct conf_view v = conf_build_view(b, section != NULL ? scope_of(b, section) : NULL);

    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (parameter(&fields[i], type) != NULL)
            fill_field(b, &v, parameter(&fields[i], type), fields[i].offset, c);
    fill_field(b, &v, "syslog_name", offsetof(struct conf_client, syslog_name), c);
    return c;
}
