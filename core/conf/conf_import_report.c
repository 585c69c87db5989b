/*
 * The report of `mta config import`: what becomes of each parameter and service, by line. Called by conf_import.c.
 * A verdict is one of
 *   honoured          it means the same here
 *   equivalent        it is done here in another way: how
 *   harmless          it means nothing here and nothing is missing: why
 *   not supported     (yet): what that is about, or what to use
 * and under what is honoured stands what there is to complain about all the same.
 */
#include "core/conf/conf_import.h"

#include "core/base/assert.h"

enum verdict {
    VERDICT_HONOURED,
    VERDICT_EQUIVALENT,
    VERDICT_HARMLESS,
    VERDICT_NOT_YET,
    VERDICT_NOT,
    VERDICT_COUNT,
};

static const char *const verdict_texts[] = {"honoured", "equivalent", "harmless", "not supported yet", "not supported"};

struct work {
    struct conf_import *import;
    struct conf_report lines;    /* the report, one complaint a line */
    struct conf_report snapshot; /* what loading the directory says */
    struct conf_build build;
    unsigned counts[VERDICT_COUNT];
};

static void say(struct work *w, enum verdict verdict, const char *file, int line, const char *what, const char *more)
{
    w->counts[verdict]++;
    conf_report_add(&w->lines, CONF_SEVERITY_WARNING, file, line, "%s: %s%s%s", what, verdict_texts[verdict],
                    more != NULL ? ": " : "", more != NULL ? more : "");
}

/* What is complained about at a place that is honoured. */
static void say_complaints(struct work *w, const char *file, int line)
{
    for (size_t i = 0; i < w->snapshot.n; i++) {
        const struct conf_complaint *c = &w->snapshot.items[i];

        if (c->line == line && strcmp(c->file, file) == 0)
            conf_report_add(&w->lines, CONF_SEVERITY_WARNING, file, line, "%s: %s",
                            c->severity == CONF_SEVERITY_ERROR ? "error" : "but", c->text);
    }
}

/* ---- parameters ---- */

static enum verdict verdict_of(enum conf_known_kind kind)
{
    switch (kind) {
    case CONF_KNOWN_EQUIVALENT: return VERDICT_EQUIVALENT;
    case CONF_KNOWN_HARMLESS: return VERDICT_HARMLESS;
    case CONF_KNOWN_LATER:
    case CONF_KNOWN_DEMAND: return VERDICT_NOT_YET;
    case CONF_KNOWN_UNSUPPORTED: break;
    }
    return VERDICT_NOT;
}

static void unknown(struct work *w, const struct conf_view *v, const struct conf_assignment *a)
{
    const char *near = conf_name_nearest(v, a->name);

    say(w, VERDICT_NOT, a->file, a->line, a->name,
        near != NULL ? arena_printf(&w->import->arena, "unknown parameter; did you mean %s?", near)
                     : "unknown parameter");
}

static void parameter(struct work *w, const struct conf_section *listener, const struct conf_assignment *a)
{
    struct conf_view v = conf_build_view(&w->build, listener);
    const struct conf_row *row = conf_row_find(a->name);
    const struct conf_known *known = conf_known_find(&v, a->name);

    if (row == NULL)
        row = conf_view_dynamic(&v, a->name);
    if (row != NULL && listener != NULL && row->apply != CONF_APPLY_LISTENER)
        say(w, VERDICT_NOT, a->file, a->line, a->name, "it is one for the whole server");
    else if (row != NULL) {
        say(w, VERDICT_HONOURED, a->file, a->line, a->name, NULL);
        say_complaints(w, a->file, a->line);
    } else if (known != NULL)
        say(w, verdict_of(known->kind), a->file, a->line, a->name,
            known->kind != CONF_KNOWN_DEMAND || conf_check_demand(&w->build, listener, a) ? known->text : NULL);
    else if (conf_name_used(w->build.source, a->name))
        say(w, VERDICT_HONOURED, a->file, a->line, a->name, "used in other values");
    else
        unknown(w, &v, a);
}

/* ---- services ---- */

static const char *title(struct work *w, const struct conf_service *s)
{
    return arena_printf(&w->import->arena, "service %s %s (%s)", s->name, s->type, s->command);
}

static void listener(struct work *w, const struct conf_service *s)
{
    const struct conf_section *section = &w->import->source.sections[s->section];
    const char *left_out = conf_import_left_out(w->import, s);
    const char *name = conf_import_name(w->import, s);

    if (left_out != NULL)
        say(w, VERDICT_NOT_YET, section->file, s->line, title(w, s), left_out);
    else
        say(w, VERDICT_HONOURED, section->file, s->line, title(w, s),
            arena_printf(&w->import->arena, "[listener %s]", name));
    say_complaints(w, section->file, s->line);
    for (size_t i = 1; i < section->n; i++)
        parameter(w, section, &section->items[i]);
}

static void transport_options(struct work *w, const struct conf_service *s)
{
    const struct conf_section *section = &w->import->source.sections[s->section];

    for (size_t i = 0; i < s->noptions; i++) {
        const struct conf_assignment *o = &s->options[i];
        const char *option = arena_printf(&w->import->arena, "-o %s", o->name);

        if (conf_import_option(section, option) != NULL)
            say(w, VERDICT_HONOURED, o->file, o->line, option, NULL);
        else
            say(w, VERDICT_NOT_YET, o->file, o->line, option, "an option of a transport");
    }
}

/* What is said at the lines of its settings, which are not those of the service. */
static void transport_settings(struct work *w, const struct conf_service *s, const struct conf_section *section)
{
    int said = s->line;

    for (size_t i = 0; i < section->n; i++) {
        const struct conf_assignment *a = &section->items[i];

        if (a->line == said || slice_starts(slice_str(a->name), SLICE_LIT("-o ")))
            continue;
        say_complaints(w, a->file, a->line);
        said = a->line;
    }
}

static bool type_to_come(const char *type)
{
    return strcmp(type, "local") == 0;
}

static void transport(struct work *w, const struct conf_service *s)
{
    const struct conf_section *section = &w->import->source.sections[s->section];
    const char *left_out = conf_import_left_out(w->import, s), *type = section->items[0].value;

    if (left_out != NULL)
        say(w, VERDICT_NOT, section->file, s->line, title(w, s), left_out);
    else if (type_to_come(type))
        say(w, VERDICT_NOT_YET, section->file, s->line, title(w, s), "its mail is deferred");
    else
        say(w, VERDICT_HONOURED, section->file, s->line, title(w, s),
            conf_import_implied(w->import, s) ? "it is there without a section"
                                              : arena_printf(&w->import->arena, "[transport %s]", s->name));
    transport_options(w, s);
    if (left_out != NULL || type_to_come(type))
        return;
    say_complaints(w, section->file, s->line);
    transport_settings(w, s, section);
}

static void service(struct work *w, const struct conf_service *s)
{
    const char *file = w->import->source.master;

    switch (s->use) {
    case CONF_SERVICE_LISTENER: listener(w, s); break;
    case CONF_SERVICE_TRANSPORT: transport(w, s); break;
    case CONF_SERVICE_BUILT_IN:
        say(w, VERDICT_HARMLESS, file, s->line, title(w, s), "it is a part of the server here");
        break;
    case CONF_SERVICE_LEFT_OUT: say(w, VERDICT_NOT, file, s->line, title(w, s), s->note); break;
    case CONF_SERVICE_WRONG: break;
    }
}

/* ---- the whole ---- */

/* What the parser and the services said, but for what has been said about the service itself. */
static void add_parser(struct work *w)
{
    const struct conf_import *m = w->import;

    for (size_t i = 0; i < m->report.n; i++) {
        const struct conf_complaint *c = &m->report.items[i];
        bool said = false;

        for (size_t k = 0; k < m->source.nservices; k++)
            said = said || (m->source.services[k].use == CONF_SERVICE_LEFT_OUT &&
                            m->source.services[k].line == c->line && strcmp(c->file, m->source.master) == 0);
        if (!said)
            conf_report_add(&w->lines, CONF_SEVERITY_WARNING, c->file, c->line, "%s", c->text);
    }
}

static void print(const struct work *w, FILE *to)
{
    for (size_t i = 0; i < w->lines.n; i++) {
        const struct conf_complaint *c = &w->lines.items[i];

        fprintf(to, "%s:%d: %s\n", c->file, c->line, c->text);
    }
    fprintf(to, "mta: %s:", w->import->directory);
    for (size_t i = 0; i < VERDICT_COUNT; i++)
        fprintf(to, "%s %u %s", i == 0 ? "" : ",", w->counts[i], verdict_texts[i]);
    fputc('\n', to);
}

void conf_import_report(struct conf_import *m, FILE *to)
{
    struct work w = {.import = m};
    const struct conf *conf = conf_build_snapshot(&m->source, &m->machine, &w.snapshot);

    w.build = (struct conf_build){&m->source, &m->machine, &w.snapshot, &m->arena, NULL};
    for (size_t i = 0; i < m->source.sections[0].n; i++)
        parameter(&w, NULL, &m->source.sections[0].items[i]);
    for (size_t i = 0; i < m->source.nservices; i++)
        service(&w, &m->source.services[i]);
    add_parser(&w);
    conf_report_sort(&w.lines);
    print(&w, to);
    conf_unref(&conf);
    conf_report_clear(&w.snapshot);
    conf_report_clear(&w.lines);
}
