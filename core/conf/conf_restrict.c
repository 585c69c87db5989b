/*
 * Restrictions that Postfix has and this server has not yet are taken out of the lists, each with a warning. Called by
 * conf.c for the view of the file and of each listener, before anything judges the lists; so what is left is what runs,
 * and the check that strangers cannot relay (conf_check_access.c) counts nothing that is not there.
 *
 * Taking one out never lets anyone do more than Postfix would, with one exception that is Postfix's purpose of the
 * thing: mail that it would have refused as unwanted comes in.
 *   reject_..., check_..., defer_if_...   refuse nothing
 *   permit_..., and an OK of a table      permit nobody: the rest of the list decides
 *   warn_if_reject NAME                   goes with NAME, which was not to refuse; alone it would begin to
 *   a table, a restriction class          like check_...
 * A word that Postfix does not know either is an error.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

static const struct restriction {
    const char *name;
    unsigned arguments;
    bool later;
} restrictions[] = {
#define NOW                                false
#define LATER                              true
#define RESTRICTION(name, arguments, when) {#name, arguments, when},
#include "core/conf/restrictions.def"
#undef RESTRICTION
};

static const char *const lists[] = {"smtpd_client_restrictions",     "smtpd_helo_restrictions",
                                    "smtpd_sender_restrictions",     "smtpd_relay_restrictions",
                                    "smtpd_recipient_restrictions",  "smtpd_data_restrictions",
                                    "smtpd_end_of_data_restrictions"};

/* One list in one view. */
struct work {
    const struct conf_build *build;
    const struct conf_view *view;
    const char *parameter;
    struct slice rest;
    struct buf kept;
    bool changed;
};

#define COMPLAIN(w, severity, ...)                                                                                     \
    conf_complain((w)->build, (w)->view, CONF_SEVERITY_##severity, (w)->parameter, __VA_ARGS__)

static bool separator(char c)
{
    return ascii_space(c) || c == ',';
}

/* White space and commas inside braces do not separate. */
static struct slice take_word(struct slice *rest)
{
    size_t start = 0, n;
    int level = 0;
    struct slice word;

    while (start < rest->n && separator(rest->p[start]))
        start++;
    for (n = start; n < rest->n && (level > 0 || !separator(rest->p[n])); n++)
        level += (rest->p[n] == '{') - (rest->p[n] == '}' && level > 0);
    word = slice_make(rest->p + start, n - start);
    *rest = slice_make(rest->p + n, rest->n - n);
    return word;
}

static const struct restriction *find(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(restrictions); i++)
        if (slice_ieq(name, slice_str(restrictions[i].name)))
            return &restrictions[i];
    return NULL;
}

static bool is_class(const struct work *w, struct slice name)
{
    struct conf_failure failure;
    struct slice rest = slice_str(conf_view_value(w->view, "smtpd_restriction_classes", &failure));

    for (struct slice word; (word = take_word(&rest)).n > 0;)
        if (slice_ieq(word, name))
            return true;
    return false;
}

static void complain_unknown(const struct work *w, struct slice word)
{
    struct conf_near near = {.name = arena_slice_dup(w->build->arena, word)};

    for (size_t i = 0; i < ARRAY_LEN(restrictions); i++)
        conf_near_try(&near, restrictions[i].name);
    if (near.best != NULL)
        COMPLAIN(w, ERROR, "unknown restriction %s; did you mean %s?", near.name, near.best);
    else
        COMPLAIN(w, ERROR, "unknown restriction %s", near.name);
}

static void take_arguments(struct work *w, const struct restriction *r)
{
    for (unsigned i = 0; i < r->arguments; i++)
        if (take_word(&w->rest).n == 0)
            COMPLAIN(w, ERROR, "%s needs an argument", r->name);
}

static void keep(struct work *w, struct slice word)
{
    if (buf_len(&w->kept) > 0)
        buf_add_str(&w->kept, ", ");
    buf_add_slice(&w->kept, word);
}

/* `only_warns`: behind warn_if_reject, where only a permission has an effect. */
static void entry(struct work *w, struct slice word, bool only_warns)
{
    const struct restriction *r = find(word);

    if (r == NULL && slice_find(word, ':') == SLICE_NOT_FOUND && !is_class(w, word)) {
        complain_unknown(w, word);
        return;
    }
    if (r == NULL || r->later)
        COMPLAIN(w, WARNING, "%.*s is not supported yet: it has no effect", (int)word.n, word.p);
    if (r == NULL || r->later || (only_warns && !slice_istarts(word, SLICE_LIT("permit"))))
        w->changed = true;
    else
        keep(w, word);
    if (r != NULL)
        take_arguments(w, r);
}

static void clean(struct work *w)
{
    bool only_warns = false;

    for (struct slice word; (word = take_word(&w->rest)).n > 0;) {
        if (slice_ieq(word, SLICE_LIT("warn_if_reject"))) {
            COMPLAIN(w, WARNING, "warn_if_reject is not supported yet: what follows it does not warn either");
            only_warns = w->changed = true;
            continue;
        }
        entry(w, word, only_warns);
        only_warns = false;
    }
}

void conf_restrict(const struct conf_build *b, const struct conf_view *v, struct conf *conf)
{
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const char **field = (const char **)((char *)conf + conf_row_find(lists[i])->offset);
        struct work w = {.build = b, .view = v, .parameter = lists[i], .rest = slice_str(*field)};

        clean(&w);
        if (w.changed)
            *field = arena_strdup(b->arena, buf_cstr(&w.kept));
        buf_release(&w.kept);
    }
}
