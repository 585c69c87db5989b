/* Logical lines of tables and query files: see text_lines.h. */
#include "lookup/text_lines.h"

void text_lines_start(struct text_lines *t, struct slice text)
{
    *t = (struct text_lines){.rest = text};
}

/* The physical line that `rest` begins with, without its end, and where the one after it begins. */
static struct slice physical(struct slice rest, struct slice *after)
{
    size_t end = slice_find(rest, '\n');
    struct slice line = end == SLICE_NOT_FOUND ? rest : slice_head(rest, end);

    *after = end == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(rest, end + 1);
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

static bool is_skipped(struct slice line)
{
    struct slice visible = slice_trim(line);

    return visible.n == 0 || visible.p[0] == '#';
}

bool text_lines_next(struct text_lines *t, struct slice *out)
{
    bool begun = false;

    buf_clear(&t->logical);
    while (t->rest.n > 0) {
        struct slice after, line = physical(t->rest, &after);

        if (!is_skipped(line)) {
            if (begun && !ascii_space(line.p[0]))
                break;
            if (!begun)
                t->line = t->next + 1;
            begun = true;
            buf_add_slice(&t->logical, line);
        }
        t->rest = after;
        t->next++;
    }
    *out = buf_slice(&t->logical);
    return begun;
}

void text_lines_end(struct text_lines *t)
{
    buf_release(&t->logical);
}
