/*
 * Files -> logical lines, as main.cf and master.cf have them: a line that begins with white space continues the one
 * before it; blank lines and lines whose first character besides white space is '#' are skipped and do not end a
 * logical line. Called by conf_parse.c and conf_master.c; what it makes lives for the call.
 */
#include "core/conf/conf_int.h"

#include "core/base/alloc.h"

#include <errno.h>

#define FILE_MOST ((size_t)4 << 20)

const char *conf_lines_read(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    const char *why = NULL;
    size_t n = 1;
    char *to;

    *out = (struct buf){.max = FILE_MOST};
    if (f == NULL)
        return strerror(errno);
    while (n > 0 && (to = buf_reserve(out, 16384)) != NULL) {
        n = fread(to, 1, 16384, f);
        buf_commit(out, n);
    }
    if (ferror(f))
        why = strerror(errno);
    else if (!feof(f))
        why = "it is too large";
    fclose(f);
    return why;
}

/* ---- logical lines ---- */

struct reader {
    struct conf_logical line; /* number 0: there is none yet */
    const char *path;
    struct conf_report *report;
    void (*found)(void *ctx, const struct conf_logical *);
    void *ctx;
};

static void end_logical(struct reader *r)
{
    if (buf_len(&r->line.text) > 0)
        r->found(r->ctx, &r->line);
    buf_clear(&r->line.text);
    r->line.nmarks = 0;
}

static void mark(struct conf_logical *line, int number)
{
    if (line->nmarks == line->cap) {
        line->cap = line->cap == 0 ? 16 : line->cap * 2;
        line->marks = mem_resize(line->marks, line->cap * sizeof *line->marks);
    }
    line->marks[line->nmarks++] = (struct conf_mark){buf_len(&line->text), number};
}

static void physical_line(struct reader *r, struct slice line, int number)
{
    struct slice trimmed = slice_trim(line);

    if (slice_find(line, '\0') != SLICE_NOT_FOUND) {
        conf_report_add(r->report, CONF_SEVERITY_ERROR, r->path, number, "the line has a NUL byte");
        return;
    }
    if (trimmed.n == 0 || trimmed.p[0] == '#')
        return;
    if (!ascii_space(line.p[0])) {
        end_logical(r);
        r->line.number = number;
    } else if (r->line.number == 0) {
        conf_report_add(r->report, CONF_SEVERITY_ERROR, r->path, number,
                        "the first line must not begin with white space: it would continue the line before it");
        return;
    }
    mark(&r->line, number);
    buf_add_slice(&r->line.text, slice_make(line.p, (size_t)(trimmed.p + trimmed.n - line.p)));
}

void conf_lines_each(struct slice text, const char *path, struct conf_report *report,
                     void (*found)(void *ctx, const struct conf_logical *), void *ctx)
{
    struct reader r = {.path = path, .report = report, .found = found, .ctx = ctx};

    for (int number = 1; text.n > 0; number++) {
        size_t end = slice_find(text, '\n');

        physical_line(&r, slice_head(text, end), number);
        text = slice_from(text, end == SLICE_NOT_FOUND ? text.n : end + 1);
    }
    end_logical(&r);
    buf_release(&r.line.text);
    mem_free(r.line.marks);
}

int conf_lines_number(const struct conf_logical *line, size_t offset)
{
    int number = line->number;

    for (size_t i = 0; i < line->nmarks && line->marks[i].offset <= offset; i++)
        number = line->marks[i].number;
    return number;
}
