/* Complaints about a configuration: collected by the loader, printed by `mta --check-config` and at start. */
#include "core/conf/conf_int.h"

#include "core/base/alloc.h"

#include <stdarg.h>

static bool reported(const struct conf_report *r, const char *file, int line, const char *text)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->items[i].line == line && strcmp(r->items[i].file, file) == 0 && strcmp(r->items[i].text, text) == 0)
            return true;
    return false;
}

static void append(struct conf_report *r, struct conf_complaint c)
{
    if (r->n == r->cap) {
        r->cap = r->cap == 0 ? 16 : r->cap * 2;
        r->items = mem_resize(r->items, r->cap * sizeof *r->items);
    }
    r->items[r->n++] = c;
    if (c.severity == CONF_SEVERITY_ERROR)
        r->nerrors++;
    else
        r->nwarnings++;
}

void conf_report_add(struct conf_report *r, enum conf_severity severity, const char *file, int line, const char *fmt,
                     ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (!reported(r, file, line, buf_cstr(&text)))
        append(r, (struct conf_complaint){severity, arena_strdup(&r->arena, file), line,
                                          arena_strdup(&r->arena, buf_cstr(&text))});
    buf_release(&text);
}

static bool after(const struct conf_complaint *a, const struct conf_complaint *b)
{
    int order = strcmp(a->file, b->file);

    return order > 0 || (order == 0 && a->line > b->line);
}

void conf_report_sort(struct conf_report *r)
{
    for (size_t i = 1; i < r->n; i++) {
        struct conf_complaint c = r->items[i];
        size_t at = i;

        for (; at > 0 && after(&r->items[at - 1], &c); at--)
            r->items[at] = r->items[at - 1];
        r->items[at] = c;
    }
}

void conf_report_text(const struct conf_report *r, struct buf *out)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct conf_complaint *c = &r->items[i];

        buf_add_str(out, c->file);
        if (c->line > 0)
            buf_printf(out, ":%d", c->line);
        buf_printf(out, ": %s: %s\n", c->severity == CONF_SEVERITY_ERROR ? "error" : "warning", c->text);
    }
}

void conf_report_print(const struct conf_report *r, FILE *f)
{
    struct buf text = {0};

    conf_report_text(r, &text);
    fputs(buf_cstr(&text), f);
    buf_release(&text);
}

void conf_report_clear(struct conf_report *r)
{
    mem_free(r->items);
    arena_clear(&r->arena);
    *r = (struct conf_report){0};
}
