/*
 * One change of the text of a configuration file: a parameter set or commented out, everything else byte for byte as
 * it was. Called by conf_set.c; pure.
 *
 * The lines are those of conf_lines.c: a definition is a line that begins with a name, and the lines that continue it;
 * comments and blank lines among these stay.
 */
#include "core/conf/conf_int.h"

#define BLANKS " \t\r\n\v\f"

enum line_kind {
    LINE_NOTHING,   /* a comment, or blank */
    LINE_SECTION,   /* [kind name] */
    LINE_BEGINS,    /* a definition */
    LINE_CONTINUES, /* the definition before it */
};

struct line {
    struct slice text; /* with its newline; the last one may have none */
    enum line_kind kind;
};

/* Takes the first line off the text; of an empty one nothing. */
static struct line next_line(struct slice *text)
{
    size_t end = slice_find(*text, '\n');
    struct line line = {slice_head(*text, end == SLICE_NOT_FOUND ? text->n : end + 1), LINE_BEGINS};
    struct slice trimmed = slice_trim(line.text);

    if (text->n == 0)
        return (struct line){SLICE_EMPTY, LINE_NOTHING};
    *text = slice_from(*text, line.text.n);
    if (trimmed.n == 0 || trimmed.p[0] == '#')
        line.kind = LINE_NOTHING;
    else if (ascii_space(line.text.p[0]))
        line.kind = LINE_CONTINUES;
    else if (line.text.p[0] == '[')
        line.kind = LINE_SECTION;
    return line;
}

static bool is_section(struct slice line, const struct conf_change *change)
{
    static const char *const kinds[] = {
        [CONF_SECTION_MAIN] = "", [CONF_SECTION_LISTENER] = "listener", [CONF_SECTION_TRANSPORT] = "transport"};
    struct slice inside = slice_head(slice_from(line, 1), slice_find(slice_from(line, 1), ']'));
    struct slice kind = slice_token(&inside, BLANKS);

    return change->kind != CONF_SECTION_MAIN && slice_eq(kind, slice_str(kinds[change->kind])) &&
           slice_eq(slice_trim(inside), slice_str(change->section));
}

static bool defines(struct slice line, const char *name)
{
    size_t equals = slice_find(line, '=');

    return equals != SLICE_NOT_FOUND && slice_eq(slice_trim(slice_head(line, equals)), slice_str(name));
}

/* Byte offsets into the text. */
struct place {
    bool section; /* is there such a section? */
    size_t from;  /* of the line that begins the last definition; SLICE_NOT_FOUND: there is none */
    size_t after; /* where a new definition goes: behind the last one of the section */
};

static struct place find_place(struct slice text, const struct conf_change *change)
{
    struct place p = {change->kind == CONF_SECTION_MAIN, SLICE_NOT_FOUND, SLICE_NOT_FOUND};
    size_t at = 0, gap = 0; /* gap: behind the last line that is not a comment directly above the next section */
    bool inside = p.section;

    for (struct slice rest = text; rest.n > 0;) {
        struct line line = next_line(&rest);
        size_t end = at + line.text.n;

        if (line.kind == LINE_SECTION) {
            if (inside && p.after == SLICE_NOT_FOUND)
                p.after = gap;
            inside = is_section(line.text, change);
            if (inside) {
                p.section = true;
                p.after = end;
            }
        } else if (inside && (line.kind == LINE_BEGINS || line.kind == LINE_CONTINUES)) {
            p.after = end;
            if (line.kind == LINE_BEGINS && defines(line.text, change->name))
                p.from = at;
        }
        if (line.kind != LINE_NOTHING || slice_trim(line.text).n == 0)
            gap = end;
        at = end;
    }
    if (p.after == SLICE_NOT_FOUND)
        p.after = text.n;
    return p;
}

static void add_definition(struct buf *out, const struct conf_change *change)
{
    if (buf_len(out) > 0 && buf_slice(out).p[buf_len(out) - 1] != '\n')
        buf_add_char(out, '\n');
    buf_printf(out, "%s =%s%s\n", change->name, change->value[0] != '\0' ? " " : "", change->value);
}

/* What follows a definition's first line: without its other lines, or with these as comments. */
static void add_rest(struct buf *out, struct slice rest, bool comment)
{
    bool mine = true;

    while (rest.n > 0) {
        struct line line = next_line(&rest);

        mine = mine && line.kind != LINE_BEGINS && line.kind != LINE_SECTION;
        if (mine && line.kind == LINE_CONTINUES) {
            if (!comment)
                continue;
            buf_add_char(out, '#');
        }
        buf_add_slice(out, line.text);
    }
}

bool conf_edit_set(struct slice text, const struct conf_change *change, struct buf *out)
{
    struct place p = find_place(text, change);
    size_t at = p.from != SLICE_NOT_FOUND ? p.from : p.after;
    struct slice rest = slice_from(text, at);

    if (!p.section)
        return false;
    buf_add_slice(out, slice_head(text, at));
    add_definition(out, change);
    if (p.from == SLICE_NOT_FOUND) {
        buf_add_slice(out, rest);
    } else {
        next_line(&rest);
        add_rest(out, rest, false);
    }
    return true;
}

/* Comments out the last definition; false when there is none. */
static bool comment_last(struct slice text, const struct conf_change *change, struct buf *out)
{
    struct place p = find_place(text, change);
    struct slice rest;

    if (p.from == SLICE_NOT_FOUND)
        return false;
    rest = slice_from(text, p.from);
    buf_add_slice(out, slice_head(text, p.from));
    buf_add_char(out, '#');
    buf_add_slice(out, next_line(&rest).text);
    add_rest(out, rest, true);
    return true;
}

bool conf_edit_unset(struct slice text, const struct conf_change *change, struct buf *out)
{
    struct buf before = {0};
    bool any = false;

    buf_add_slice(out, text);
    while (comment_last(buf_slice(out), change, &before)) {
        any = true;
        buf_clear(out);
        buf_add_slice(out, buf_slice(&before));
        buf_clear(&before);
    }
    buf_release(&before);
    return any;
}
