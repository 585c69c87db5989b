/*
 * hash:, btree:, lmdb:, cdb: and texthash: all read the text file that postmap(1) would build its database from, and
 * need no postmap. The file is held in memory; file_source sees to changes.
 *
 * A line is "key white-space value"; a key with white space in it stands in double quotes, with \" and \\ inside. The
 * first of several lines with the same key counts. A line that cannot be used is skipped with a warning.
 */
#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/codec.h"
#include "lookup/file_source.h"
#include "lookup/table_int.h"
#include "lookup/text_lines.h"

#define FILE_MAX (256u << 20)

struct pairs {
    struct arena arena;
    struct map map; /* folded key -> char *, in the arena */
};

struct table_file {
    struct table table;
    struct file_source *source;
    struct list waiting; /* table_op.link: until the file has been looked at */
};

/* ---- the text; any thread ---- */

static bool take_quoted_key(struct slice *line, struct buf *key)
{
    size_t i;

    for (i = 1; i < line->n && line->p[i] != '"'; i++) {
        if (line->p[i] == '\\' && i + 1 < line->n)
            i++;
        buf_add_char(key, line->p[i]);
    }
    if (i == line->n)
        return false;
    *line = slice_from(*line, i + 1);
    if (line->n > 0 && line->p[0] == ':') {
        *line = slice_from(*line, 1);
        return true;
    }
    return line->n == 0 || ascii_space(line->p[0]);
}

/*
 * Takes the key off the line: unquoted into `key`. False when its quotes do not match. Postfix has postalias(1) for
 * files in the form of aliases(5) and postmap(1) for the others, and asks both by the same type; here the line itself
 * says it: the colon of "name: value" and of "name:value" is not part of the key.
 */
static bool take_key(struct slice *line, struct buf *key)
{
    size_t i = 0, colon;

    if (line->n > 0 && line->p[0] == '"')
        return take_quoted_key(line, key);
    while (i < line->n && !ascii_space(line->p[i]))
        i++;
    if (slice_trim(slice_from(*line, i)).n == 0)
        colon = slice_find(*line, ':');
    else
        colon = i > 0 && line->p[i - 1] == ':' ? i - 1 : SLICE_NOT_FOUND;
    if (colon == SLICE_NOT_FOUND || colon == 0)
        colon = i;
    buf_add(key, line->p, colon);
    *line = slice_from(*line, colon < i ? colon + 1 : i);
    return true;
}

static const char *add_line(struct pairs *pairs, struct slice line, struct buf *key, struct buf *folded)
{
    struct slice value = line;

    if (ascii_space(line.p[0]))
        return "the first line must not begin with white space";
    if (!codec_utf8_valid(line) || memchr(line.p, 0, line.n) != NULL)
        return "not UTF-8";
    if (!take_key(&value, key))
        return "the quotes of the key do not match";
    value = slice_trim(value);
    if (buf_len(key) == 0 || value.n == 0)
        return "not of the form: key white-space value";
    table_fold(folded, buf_slice(key));
    if (map_get(&pairs->map, buf_slice(folded)) != NULL)
        return "the key is there already; this line is not used";
    map_put(&pairs->map, buf_slice(folded), arena_slice_dup(&pairs->arena, value));
    return NULL;
}

static void *parse(const char *path, struct slice text, struct buf *report)
{
    struct pairs *pairs = NEW(struct pairs);
    struct text_lines lines;
    struct slice line;
    struct buf key = {0}, folded = {0};

    text_lines_start(&lines, text);
    while (text_lines_next(&lines, &line)) {
        const char *complaint;

        buf_clear(&key);
        buf_clear(&folded);
        complaint = add_line(pairs, line, &key, &folded);
        if (complaint != NULL)
            buf_printf(report, "warning: %s:%d: %s\n", path, lines.line, complaint);
    }
    text_lines_end(&lines);
    buf_release(&key);
    buf_release(&folded);
    return pairs;
}

static void pairs_free(void *content)
{
    struct pairs *pairs = content;

    map_clear(&pairs->map);
    arena_clear(&pairs->arena);
    mem_free(pairs);
}

static const struct file_source_kind pairs_kind = {.parse = parse, .free = pairs_free, .size_max = FILE_MAX};

/* ---- the table ---- */

static void answer(struct table_file *t, struct table_op *o)
{
    const struct pairs *pairs = file_source_content(t->source);
    const char *value = pairs != NULL ? map_get(&pairs->map, slice_str(o->key)) : NULL;

    if (pairs == NULL) {
        char *why = mem_printf("%s: %s", t->table.name, file_source_why(t->source));

        table_failed_quietly(o, why); /* the source has logged it */
        mem_free(why);
    } else if (value == NULL) {
        table_notfound(o);
    } else {
        table_found(o, slice_str(value));
    }
}

static void on_checked(void *owner)
{
    struct table_file *t = owner;
    struct list *it;

    while ((it = list_shift(&t->waiting)) != NULL)
        answer(t, LIST_ITEM(it, struct table_op, link));
}

static bool file_open(struct table *table, const char *arg, struct buf *err)
{
    struct table_file *t = (struct table_file *)table;

    (void)err;
    list_init(&t->waiting);
    t->source = file_source_new(table->tables->loop, &pairs_kind, arg, table->name, on_checked, t);
    return true;
}

static void file_lookup(struct table *table, struct table_op *o)
{
    struct table_file *t = (struct table_file *)table;

    if (file_source_ready(t->source))
        answer(t, o);
    else
        list_append(&t->waiting, &o->link);
}

static bool file_check(struct table *table, struct buf *report)
{
    void *content = file_source_read(&pairs_kind, strchr(table->name, ':') + 1, report);

    if (content == NULL)
        return false;
    pairs_free(content);
    return true;
}

static void file_close(struct table *table)
{
    struct table_file *t = (struct table_file *)table;

    while (list_shift(&t->waiting) != NULL)
        ;
    file_source_free(&t->source);
}

#define FILE_KIND(name)                                                                                                \
    const struct table_kind table_kind_##name = {                                                                      \
        .type = #name,                                                                                                 \
        .size = sizeof(struct table_file),                                                                             \
        .open = file_open,                                                                                             \
        .lookup = file_lookup,                                                                                         \
        .check = file_check,                                                                                           \
        .close = file_close,                                                                                           \
    }

FILE_KIND(hash);
FILE_KIND(btree);
FILE_KIND(lmdb);
FILE_KIND(cdb);
FILE_KIND(texthash);
