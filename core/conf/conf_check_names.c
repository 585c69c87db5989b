/*
 * What is set and means nothing, or not yet: unknown and unused names with the nearest known one, parameters of
 * Postfix that are not supported, parameters that a listener cannot have of its own, $name of nothing. Called by
 * conf.c.
 *
 * What is not supported yet is a warning. It is an error where the value asks for a protection, and going on would
 * quietly do without it.
 */
#include "core/conf/conf_int.h"

#define BLANKS " \t\r\n\v\f"

/* One section of the file under check. */
struct work {
    const struct conf_build *build;
    struct conf_view view;
    const struct conf_assignment *at;
};

static void complain(const struct work *w, enum conf_severity severity, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void complain(const struct work *w, enum conf_severity severity, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    conf_report_add(w->build->report, severity, w->at->file, w->at->line, "%s", buf_cstr(&text));
    buf_release(&text);
}

#define WARN_AT(w, ...) complain(w, CONF_SEVERITY_WARNING, __VA_ARGS__)

static bool has_word(const char *list, const char *wanted)
{
    struct slice rest = slice_str(list);

    for (struct slice word; (word = slice_token(&rest, " ")).n > 0;)
        if (slice_ieq(word, slice_str(wanted)))
            return true;
    return false;
}

/* The same words, whatever is between them. */
static bool same_words(const char *one, const char *two)
{
    struct slice a = slice_str(one), b = slice_str(two), word;

    do {
        word = slice_token(&a, BLANKS);
        if (!slice_eq(word, slice_token(&b, BLANKS)))
            return false;
    } while (word.n > 0);
    return true;
}

/* Is it what Postfix would do anyway? As written in its manual, or written otherwise with the same value. */
static bool is_default(const struct work *w, const struct conf_known *known, const char *value)
{
    struct conf_failure failure;
    const char *def;

    if (same_words(w->at->value, known->def))
        return true;
    def = conf_view_text(&w->view, known->def, &failure);
    return def != NULL && same_words(value, def);
}

/* The value may have macros that only Postfix's own daemons know, as in $rbl_domain: then it is as it is written. */
static const char *known_value(const struct work *w)
{
    struct conf_failure failure;
    const char *value = conf_view_value(&w->view, w->at->name, &failure);

    return value != NULL ? value : w->at->value;
}

static bool demands(const struct work *w, const struct conf_known *known, const char *value)
{
    return known->kind == CONF_KNOWN_DEMAND && value[0] != '\0' && !is_default(w, known, value) &&
           (known->harmless == NULL || !has_word(known->harmless, value));
}

bool conf_check_demand(const struct conf_build *b, const struct conf_section *listener,
                       const struct conf_assignment *at)
{
    const struct work w = {b, conf_build_view(b, listener), at};
    const struct conf_known *known = conf_known_find(&w.view, at->name);

    return known != NULL && demands(&w, known, known_value(&w));
}

static void complain_demand(const struct work *w, const struct conf_known *known, const char *value)
{
    if (w->view.listener != NULL && w->build->source->postfix)
        WARN_AT(w, "listener %s is not opened: %s = %s is not supported yet: %s", w->view.listener->name, w->at->name,
                value, known->text);
    else
        complain(w, CONF_SEVERITY_ERROR, "%s = %s is not supported yet: %s", w->at->name, value, known->text);
}

static void check_known(const struct work *w, const struct conf_known *known)
{
    const char *name = w->at->name, *value = known_value(w);

    if (known->kind == CONF_KNOWN_HARMLESS || known->kind == CONF_KNOWN_EQUIVALENT)
        return;
    if (is_default(w, known, value) || value[0] == '\0')
        return;
    else if (demands(w, known, value))
        complain_demand(w, known, value);
    else if (known->kind == CONF_KNOWN_UNSUPPORTED)
        WARN_AT(w, "%s has no effect: %s", name, known->text);
    else if (!conf_value_off(value))
        WARN_AT(w, "%s is not supported yet: it has no effect", name);
}

static void check_unknown(const struct work *w)
{
    const char *near = conf_name_nearest(&w->view, w->at->name);

    if (near != NULL)
        WARN_AT(w, "unused parameter %s; did you mean %s?", w->at->name, near);
    else
        WARN_AT(w, "unused parameter %s", w->at->name);
}

static void check_name(const struct work *w)
{
    const char *name = w->at->name;
    const struct conf_row *row = conf_row_find(name);
    const struct conf_known *known;

    if (row == NULL)
        row = conf_view_dynamic(&w->view, name);
    if (row != NULL) {
        if (w->view.listener != NULL && row->apply != CONF_APPLY_LISTENER)
            WARN_AT(w, "%s is one for the whole server: in a listener it has no effect", name);
        return;
    }
    known = conf_known_find(&w->view, name);
    if (known != NULL)
        check_known(w, known);
    else if (!conf_name_used(w->build->source, name))
        check_unknown(w);
}

/* A $name that nothing defines; ${name?...} and ${name:...} ask exactly that and are left alone. */
static void check_reference(void *ctx, const char *name, bool tested)
{
    const struct work *w = ctx;
    const char *near;

    if (tested || conf_view_find(&w->view, name) != NULL || conf_name_known(&w->view, name))
        return;
    near = conf_name_nearest(&w->view, name);
    if (near != NULL)
        WARN_AT(w, "%s: $%s is not set anywhere and stands for nothing; did you mean $%s?", w->at->name, name, near);
    else
        WARN_AT(w, "%s: $%s is not set anywhere and stands for nothing", w->at->name, name);
}

/* Is it a value that is expanded here? */
static bool is_expanded(const struct work *w, bool transport)
{
    const char *name = w->at->name;
    const struct conf_row *row = transport ? conf_transport_row_find(name) : conf_row_find(name);

    if (row == NULL && !transport)
        row = conf_view_dynamic(&w->view, name);
    return row != NULL ? !row->verbatim : conf_known_find(&w->view, name) == NULL;
}

static void check_section(const struct conf_build *b, const struct conf_section *section)
{
    bool transport = section->kind == CONF_SECTION_TRANSPORT;
    struct work w = {b, conf_build_view(b, section->kind == CONF_SECTION_LISTENER ? section : NULL), NULL};

    for (size_t i = 0; i < section->n; i++) {
        w.at = &section->items[i];
        if (is_expanded(&w, transport))
            conf_expand_scan(w.at->value, check_reference, &w);
        /* The names of a transport's settings are checked with the transport. */
        if (!transport && !(section->kind == CONF_SECTION_LISTENER && strcmp(w.at->name, "listen") == 0))
            check_name(&w);
    }
}

void conf_check_names(const struct conf_build *b)
{
    for (size_t i = 0; i < b->source->nsections; i++)
        check_section(b, &b->source->sections[i]);
}
