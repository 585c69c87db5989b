/* Results of pattern rules: see pattern_value.h. Scanned once when the rules are read, expanded with each match. */
#include "lookup/pattern_value.h"

#define GROUP_MAX 65535u

/* A piece of a value: text, or the number of a group. */
struct piece {
    struct slice text;
    unsigned group; /* 0: text */
};

/* The name at the start of *rest, which follows a '$', without its brackets. False: they do not match. */
static bool take_name(struct slice *rest, struct slice *name)
{
    char open = rest->n > 0 ? rest->p[0] : '\0', close = open == '{' ? '}' : open == '(' ? ')' : '\0';
    size_t i = 0, depth = 0;

    if (close == '\0') {
        while (i < rest->n && (ascii_alnum(rest->p[i]) || rest->p[i] == '_'))
            i++;
        *name = slice_head(*rest, i);
        *rest = slice_from(*rest, i);
        return true;
    }
    for (; i < rest->n; i++) {
        if (rest->p[i] == open)
            depth++;
        else if (rest->p[i] == close && --depth == 0)
            break;
    }
    if (i == rest->n)
        return false;
    *name = slice_make(rest->p + 1, i - 1);
    *rest = slice_from(*rest, i + 1);
    return true;
}

static bool take_group(struct slice *rest, unsigned *group, struct buf *why)
{
    struct slice before = *rest, name;
    uint64_t n = 0;

    if (!take_name(rest, &name))
        buf_printf(why, "\"$%.*s\" has no closing bracket", (int)before.n, before.p);
    else if (name.n == 0)
        buf_add_str(why, "a \"$\" without a number after it; \"$$\" stands for a \"$\"");
    else if (!slice_u64(name, GROUP_MAX, &n) || n == 0)
        buf_printf(why, "\"$%.*s\" is not the number of a group; write ${1} where a letter or digit follows",
                   (int)name.n, name.p);
    *group = (unsigned)n;
    return buf_len(why) == 0;
}

/* Takes the next piece off *rest, which is not empty. False, and why, when it is malformed. */
static bool take_piece(struct slice *rest, struct piece *piece, struct buf *why)
{
    size_t dollar = slice_find(*rest, '$');

    *piece = (struct piece){0};
    if (dollar != 0) {
        piece->text = slice_head(*rest, dollar);
        *rest = slice_from(*rest, dollar);
        return true;
    }
    if (rest->n > 1 && rest->p[1] == '$') {
        piece->text = SLICE_LIT("$");
        *rest = slice_from(*rest, 2);
        return true;
    }
    *rest = slice_from(*rest, 1);
    return take_group(rest, &piece->group, why);
}

bool pattern_value_scan(struct slice value, unsigned *largest, struct buf *literal, struct buf *why)
{
    struct piece piece;

    *largest = 0;
    while (value.n > 0) {
        if (!take_piece(&value, &piece, why))
            return false;
        if (piece.group > *largest)
            *largest = piece.group;
        buf_add_slice(literal, piece.text);
    }
    return true;
}

bool pattern_value_expand(struct slice value, const struct pattern_subject *subject, struct buf *out)
{
    struct buf unused = {0}; /* it was scanned before */
    struct piece piece;

    while (value.n > 0 && take_piece(&value, &piece, &unused)) {
        if (piece.group > 0) {
            const struct pattern_span *span = &subject->spans[piece.group];

            piece.text = slice_make(subject->key.p + span->start, span->end - span->start);
        }
        if (!buf_add_slice(out, piece.text))
            return false;
    }
    return true;
}
