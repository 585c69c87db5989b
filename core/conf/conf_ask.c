/*
 * Values as text, of a configuration that need not be right otherwise: for sub-commands that look for the running
 * server, and for the deep check, which asks for parameters that are no field of the snapshot. Owns what it has read.
 */
#include "core/conf/conf_int.h"

#include "core/base/alloc.h"

struct conf_texts {
    struct conf_source source;
    struct conf_machine machine;
    struct conf_report report;
    struct arena arena;
};

struct conf_texts *conf_texts_read(const char *path)
{
    struct conf_texts *t = NEW(struct conf_texts);

    if (conf_parse_file(path, &t->source, &t->report))
        conf_machine_load(&t->machine);
    else
        conf_texts_free(&t);
    return t;
}

void conf_texts_free(struct conf_texts **tp)
{
    struct conf_texts *t = *tp;

    if (t == NULL)
        return;
    *tp = NULL;
    conf_machine_clear(&t->machine);
    conf_source_clear(&t->source);
    conf_report_clear(&t->report);
    arena_clear(&t->arena);
    mem_free(t);
}

const struct conf_section *conf_texts_next(const struct conf_texts *t, const struct conf_section *listener)
{
    const struct conf_section *end = t->source.sections + t->source.nsections;
    const struct conf_section *s = listener != NULL ? listener + 1 : t->source.sections;

    for (; s < end; s++)
        if (s->kind == CONF_SECTION_LISTENER)
            return s;
    return NULL;
}

const char *conf_texts_get(struct conf_texts *t, const struct conf_section *listener, const char *name,
                           struct conf_place *place)
{
    struct conf_view view = {&t->source, listener, &t->machine, &t->arena};
    const struct conf_assignment *at = conf_view_find(&view, name);
    struct conf_failure failure;

    if (place != NULL)
        *place = at != NULL ? (struct conf_place){at->file, at->line} : (struct conf_place){t->source.path, 0};
    return conf_view_value(&view, name, &failure);
}

bool conf_ask(const char *path, const char *name, struct buf *out)
{
    struct conf_texts *t = conf_texts_read(path);
    const char *text = t != NULL ? conf_texts_get(t, NULL, name, NULL) : NULL;

    if (text != NULL)
        buf_add_str(out, text);
    conf_texts_free(&t);
    return text != NULL;
}
