/*
 * `mta config show`: the parameters as text, the way postconf prints them: unexpanded, sorted, runs of white space as
 * one space. Called by cli. Values are not judged here, so that it works on a configuration with errors in them.
 */
#include "core/conf/conf_int.h"

#include "core/base/alloc.h"

#include <stdlib.h>

struct show {
    struct conf_source source;
    struct conf_machine machine;
    struct conf_report report;
    struct arena arena;
    struct conf_view view;
    enum conf_show_mode mode;
    bool failed; /* a value could not be worked out */
    FILE *out, *err;
    const char **names; /* all there is to print */
    size_t n, cap;
};

static void print(const struct show *s, const char *name, const char *value)
{
    struct slice rest = slice_str(value);

    fprintf(s->out, "%s =", name);
    for (struct slice word; (word = slice_token(&rest, " \t\r\n\v\f")).n > 0;)
        fprintf(s->out, " %.*s", (int)word.n, word.p);
    fputc('\n', s->out);
}

/* The default as text; a COMPUTED one is worked out; NULL when there is no such parameter. */
static const char *default_text(const struct show *s, const char *name)
{
    struct conf_expansion x = {.view = &s->view};
    const char *text = conf_view_default(&s->view, name);

    if (text == NULL && conf_row_find(name) != NULL && !conf_default_compute(&x, name, &text))
        text = "";
    return text;
}

/* What is set in the file and means something: a parameter, or a name the user made up and uses. */
static const char *set_text(const struct show *s, const char *name)
{
    const struct conf_assignment *a = s->mode == CONF_SHOW_DEFAULTS ? NULL : conf_view_find(&s->view, name);

    if (a == NULL || !(conf_name_known(&s->view, name) || conf_name_used(&s->source, name)))
        return NULL;
    return a->value;
}

static void print_expanded(struct show *s, const char *name)
{
    struct conf_failure failure;
    const char *value = conf_view_value(&s->view, name, &failure);

    if (value != NULL) {
        print(s, name, value);
        return;
    }
    fprintf(s->err, "mta: error: %s: %s\n", failure.culprit[0] != '\0' ? failure.culprit : name, failure.text);
    s->failed = true;
}

/* What postconf calls an unknown parameter. */
static void show_no_parameter(struct show *s, const char *name)
{
    const struct conf_known *known = conf_known_find(&s->view, name);
    const char *near = known == NULL ? conf_name_nearest(&s->view, name) : NULL;

    if (known != NULL)
        fprintf(s->err, "mta: warning: %s: %s\n", name, conf_known_text(known, &s->arena));
    else if (near != NULL)
        fprintf(s->err, "mta: warning: %s: unknown parameter; did you mean %s?\n", name, near);
    else
        fprintf(s->err, "mta: warning: %s: unknown parameter\n", name);
}

static void show_name(struct show *s, const char *name, bool asked_for)
{
    const char *set = set_text(s, name), *otherwise = default_text(s, name);

    if (s->mode == CONF_SHOW_EXPANDED && (set != NULL || otherwise != NULL))
        print_expanded(s, name);
    else if (set != NULL)
        print(s, name, set);
    else if (otherwise != NULL && s->mode != CONF_SHOW_SET)
        print(s, name, otherwise);
    if (asked_for && otherwise == NULL && (set == NULL || conf_known_find(&s->view, name) != NULL))
        show_no_parameter(s, name);
}

/* ---- all of them ---- */

static void collect(struct show *s, const char *name)
{
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 256 : s->cap * 2;
        s->names = mem_resize(s->names, s->cap * sizeof *s->names);
    }
    s->names[s->n++] = name;
}

static void collect_transport(struct show *s, const char *transport)
{
    for (size_t i = 0; i < conf_ndynamic_rows; i++)
        collect(s, arena_printf(&s->arena, "%s_%s", transport, conf_dynamic_rows[i].name));
}

static void collect_all(struct show *s)
{
    for (size_t i = 0; i < conf_nrows; i++)
        collect(s, conf_rows[i].name);
    for (size_t i = 0; i < conf_nbuiltins; i++)
        collect_transport(s, conf_builtins[i].name);
    for (size_t i = 1; i < s->source.nsections; i++)
        if (s->source.sections[i].kind == CONF_SECTION_TRANSPORT)
            collect_transport(s, s->source.sections[i].name);
    for (size_t i = 0; s->source.nsections > 0 && i < s->source.sections[0].n; i++)
        if (set_text(s, s->source.sections[0].items[i].name) != NULL)
            collect(s, s->source.sections[0].items[i].name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void show_all(struct show *s)
{
    collect_all(s);
    qsort(s->names, s->n, sizeof *s->names, by_name);
    for (size_t i = 0; i < s->n; i++)
        if (i == 0 || strcmp(s->names[i], s->names[i - 1]) != 0)
            show_name(s, s->names[i], false);
}

static void warn_unused(const struct show *s)
{
    for (size_t i = 0; s->source.nsections > 0 && i < s->source.sections[0].n; i++) {
        const struct conf_assignment *a = &s->source.sections[0].items[i];

        if (set_text(s, a->name) == NULL)
            fprintf(s->err, "mta: warning: %s: unused parameter: %s=%s\n", s->source.path, a->name, a->value);
    }
}

/* Reads the file; false when it cannot be understood, and why is printed. */
static bool load(struct show *s, const char *path)
{
    if (s->mode == CONF_SHOW_DEFAULTS)
        return true;
    conf_parse_file(path, &s->source, &s->report);
    conf_report_print(&s->report, s->err);
    return s->report.nerrors == 0;
}

int conf_show(const char *path, enum conf_show_mode mode, const char *const *names, size_t nnames, FILE *out, FILE *err)
{
    struct show s = {.mode = mode, .out = out, .err = err};
    bool ok;

    s.view = (struct conf_view){.source = &s.source, .machine = &s.machine, .arena = &s.arena};
    conf_machine_load(&s.machine);
    ok = load(&s, path);
    for (size_t i = 0; ok && i < nnames; i++)
        show_name(&s, names[i], true);
    if (ok && nnames == 0)
        show_all(&s);
    if (ok && mode != CONF_SHOW_DEFAULTS)
        warn_unused(&s);
    mem_free(s.names);
    arena_clear(&s.arena);
    conf_machine_clear(&s.machine);
    conf_report_clear(&s.report);
    conf_source_clear(&s.source);
    return ok && !s.failed ? 0 : 1;
}
