/*
 * Names -> texts in one scope: the file's, or a listener's, whose own assignments come first. Called by whoever needs
 * a value while a configuration is built; what it works out is in the view's arena.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

const struct conf_builtin conf_builtins[] = {
    {"error", CONF_TRANSPORT_TYPE_ERROR},     {"retry", CONF_TRANSPORT_TYPE_RETRY},
    {"discard", CONF_TRANSPORT_TYPE_DISCARD}, {"virtual", CONF_TRANSPORT_TYPE_MAILDIR},
    {"smtp", CONF_TRANSPORT_TYPE_SMTP},       {"relay", CONF_TRANSPORT_TYPE_SMTP},
    {"lmtp", CONF_TRANSPORT_TYPE_LMTP},
};
const size_t conf_nbuiltins = ARRAY_LEN(conf_builtins);

const struct conf_assignment *conf_view_find(const struct conf_view *v, const char *name)
{
    const struct conf_assignment *own = v->listener != NULL ? conf_section_get(v->listener, name) : NULL;

    if (own != NULL || v->source->nsections == 0)
        return own;
    return conf_section_get(&v->source->sections[0], name);
}

bool conf_view_has_transport(const struct conf_view *v, struct slice name)
{
    for (size_t i = 0; i < conf_nbuiltins; i++)
        if (slice_eq(name, slice_str(conf_builtins[i].name)))
            return true;
    for (size_t i = 1; i < v->source->nsections; i++)
        if (v->source->sections[i].kind == CONF_SECTION_TRANSPORT &&
            slice_eq(name, slice_str(v->source->sections[i].name)))
            return true;
    return false;
}

const struct conf_row *conf_view_dynamic(const struct conf_view *v, const char *name)
{
    struct slice all = slice_str(name);

    for (size_t i = 0; i < conf_ndynamic_rows; i++) {
        struct slice suffix = slice_str(conf_dynamic_rows[i].name);
        size_t at = all.n > suffix.n ? all.n - suffix.n - 1 : 0;

        if (at > 0 && name[at] == '_' && strcmp(name + at + 1, conf_dynamic_rows[i].name) == 0 &&
            conf_view_has_transport(v, slice_head(all, at)))
            return &conf_dynamic_rows[i];
    }
    return NULL;
}

/* Defaults of Postfix's own transports that are not those of all. */
static const struct {
    const char *name, *def;
} special_defaults[] = {
    {"local_destination_concurrency_limit", "2"},
    {"local_destination_recipient_limit", "1"},
};

static const char *dynamic_default(const struct conf_row *row, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(special_defaults); i++)
        if (strcmp(name, special_defaults[i].name) == 0)
            return special_defaults[i].def;
    return row->def;
}

const char *conf_view_default(const struct conf_view *v, const char *name)
{
    const struct conf_row *row = conf_row_find(name);

    /* What a main.cf that says nothing means. */
    if (v->source->postfix && strcmp(name, "compatibility_level") == 0)
        return "0";
    if (row != NULL)
        return row->def;
    row = conf_view_dynamic(v, name);
    return row != NULL ? dynamic_default(row, name) : NULL;
}

/* $myorigin may name a file; then what is in it is the text. */
static bool origin_text(struct conf_expansion *x, const char **text)
{
    struct buf value = {0};
    bool ok = conf_expand_text(x, slice_str(*text), &value);

    if (ok && buf_len(&value) > 0 && buf_cstr(&value)[0] == '/')
        ok = conf_default_origin(x, buf_cstr(&value), text);
    buf_release(&value);
    return ok;
}

/* Other values may refer to a name of Postfix that is no parameter here. */
static const char *known_default(const struct conf_view *v, const char *name)
{
    const struct conf_known *known = conf_known_find(v, name);

    return known != NULL ? known->def : NULL;
}

bool conf_view_raw(struct conf_expansion *x, const char *name, const char **text)
{
    const struct conf_assignment *a = conf_view_find(x->view, name);

    *text = a != NULL ? a->value : conf_view_default(x->view, name);
    if (*text == NULL && x->view->listener != NULL && strcmp(name, "service_name") == 0)
        *text = x->view->listener->name;
    if (*text == NULL && conf_row_find(name) != NULL)
        return conf_default_compute(x, name, text);
    if (*text == NULL)
        *text = known_default(x->view, name);
    if (*text != NULL && strcmp(name, "myorigin") == 0)
        return origin_text(x, text);
    return true;
}

static const char *finish(struct conf_expansion *x, bool ok, struct buf *out, struct conf_failure *failure)
{
    const char *text = NULL;

    if (ok)
        text = arena_strdup(x->view->arena, buf_cstr(out));
    else
        *failure = x->failure;
    buf_release(out);
    return text;
}

const char *conf_view_value(const struct conf_view *v, const char *name, struct conf_failure *failure)
{
    struct conf_expansion x = {.view = v};
    struct buf out = {0};
    bool ok = conf_expand_name(&x, name, &out);

    return finish(&x, ok, &out, failure);
}

const char *conf_view_text(const struct conf_view *v, const char *text, struct conf_failure *failure)
{
    struct conf_expansion x = {.view = v};
    struct buf out = {0};
    bool ok = conf_expand_text(&x, slice_str(text), &out);

    return finish(&x, ok, &out, failure);
}
