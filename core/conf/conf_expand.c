/*
 * The $ language of main.cf, expanded recursively: $name, $(name), ${name}, $$, ${name?text}, ${name:text},
 * ${name?{text}:{text}}, and comparisons ${{a} op {b}?...} with == != < <= >= >, as numbers when both sides are digits
 * only, else as text; the suffix "level" compares releases (3.6 < 3.10). A test with ? or : asks whether the
 * parameter's text is empty before it is expanded, as Postfix does. Called through conf_view.c; owns nothing.
 */
#include "core/conf/conf_int.h"

#include <stdarg.h>

#define BLANKS     " \t\r\n\v\f"
#define DEPTH_MOST 100u              /* nested $ */
#define VALUE_MOST ((size_t)1 << 20) /* bytes of one expanded value */

struct conf_frame {
    const struct conf_frame *outer;
    const char *name;
};

/* What a ${...} is about, parsed from the left. */
struct cursor {
    struct slice rest;
    struct slice whole; /* for complaints */
};

bool conf_expand_fail(struct conf_expansion *x, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    if (x->failure.text != NULL)
        return false; /* the first cause is the one to tell */
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    x->failure.text = arena_strdup(x->view->arena, buf_cstr(&text));
    x->failure.culprit = arena_strdup(x->view->arena, x->top != NULL ? x->top->name : "");
    buf_release(&text);
    return false;
}

static bool put(struct conf_expansion *x, struct buf *out, struct slice text)
{
    if (buf_len(out) + text.n > VALUE_MOST)
        return conf_expand_fail(x, "the expanded value is longer than %zu bytes", VALUE_MOST);
    if (text.n > 0)
        buf_add_slice(out, text);
    return true;
}

static struct slice skip_blanks(struct slice s)
{
    while (s.n > 0 && ascii_space(s.p[0]))
        s = slice_from(s, 1);
    return s;
}

static bool name_char(char c)
{
    return ascii_alnum(c) || c == '_';
}

/*
 * Length of the group that begins at s.p[0], which is `open`, with both brackets; SLICE_NOT_FOUND when it is not
 * closed. Only this kind of bracket counts.
 */
static size_t group_length(struct slice s, char open, char close)
{
    size_t level = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == open)
            level++;
        else if (s.p[i] == close && --level == 0)
            return i + 1;
    }
    return SLICE_NOT_FOUND;
}

/* Takes a {text} and the white space behind it; the caller has seen the brace. */
static bool take_braced(struct conf_expansion *x, struct cursor *c, struct slice *text)
{
    size_t n = group_length(c->rest, '{', '}');

    if (n == SLICE_NOT_FOUND)
        return conf_expand_fail(x, "a } is missing in \"%.*s\"", (int)c->whole.n, c->whole.p);
    *text = slice_make(c->rest.p + 1, n - 2);
    c->rest = skip_blanks(slice_from(c->rest, n));
    return true;
}

static bool at_brace(const struct cursor *c)
{
    struct slice s = skip_blanks(c->rest);

    return s.n > 0 && s.p[0] == '{';
}

/* ---- comparisons ---- */

enum op {
    OP_LT,
    OP_LE,
    OP_EQ,
    OP_NE,
    OP_GE,
    OP_GT,
    OP_NONE,
};

static const char *const op_texts[] = {"<", "<=", "==", "!=", ">=", ">"};

static enum op op_find(struct slice text)
{
    for (int op = OP_LT; op < OP_NONE; op++)
        if (slice_eq(text, slice_str(op_texts[op])))
            return (enum op)op;
    return OP_NONE;
}

/* order is <0, 0 or >0 for left against right. */
static bool op_holds(enum op op, int order)
{
    switch (op) {
    case OP_LT: return order < 0;
    case OP_LE: return order <= 0;
    case OP_EQ: return order == 0;
    case OP_NE: return order != 0;
    case OP_GE: return order >= 0;
    case OP_GT: return order > 0;
    case OP_NONE: break;
    }
    return false;
}

static int order_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int order_text(const char *left, const char *right)
{
    uint64_t a, b;

    if (slice_u64(slice_str(left), INT64_MAX, &a) && slice_u64(slice_str(right), INT64_MAX, &b))
        return order_u64(a, b);
    return strcmp(left, right);
}

bool conf_level_parse(struct slice text, uint64_t *level)
{
    uint64_t part;

    *level = 0;
    for (int i = 0; i < 3; i++) {
        size_t dot = slice_find(text, '.');

        part = 0;
        if ((i == 0 || text.n > 0) && !slice_u64(slice_head(text, dot), 999999, &part))
            return false;
        *level = *level * 1000000 + part;
        text = dot == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(text, dot + 1);
    }
    return text.n == 0;
}

static bool order_levels(struct conf_expansion *x, const char *left, const char *right, int *order)
{
    uint64_t a = 0, b = 0;

    if (!conf_level_parse(slice_str(left), &a) || !conf_level_parse(slice_str(right), &b))
        return conf_expand_fail(x, "\"%s\" is not a compatibility level such as 3.6",
                                conf_level_parse(slice_str(left), &a) ? right : left);
    *order = order_u64(a, b);
    return true;
}

static bool compare(struct conf_expansion *x, struct slice left, enum op op, bool levels, struct slice right,
                    bool *holds)
{
    struct buf a = {0}, b = {0};
    int order = 0;
    bool ok = conf_expand_text(x, left, &a) && conf_expand_text(x, right, &b);

    if (ok && levels)
        ok = order_levels(x, buf_cstr(&a), buf_cstr(&b), &order);
    else if (ok)
        order = order_text(buf_cstr(&a), buf_cstr(&b));
    *holds = op_holds(op, order);
    buf_release(&a);
    buf_release(&b);
    return ok;
}

static struct slice take_while(struct cursor *c, const char *set)
{
    struct slice taken = {c->rest.p, 0};

    while (taken.n < c->rest.n && strchr(set, c->rest.p[taken.n]) != NULL)
        taken.n++;
    c->rest = slice_from(c->rest, taken.n);
    return taken;
}

/* {left} op {right}, and the white space behind it. */
static bool comparison(struct conf_expansion *x, struct cursor *c, bool *holds)
{
    struct slice left, right, word;
    enum op op;

    c->rest = skip_blanks(c->rest);
    if (!take_braced(x, c, &left))
        return false;
    op = op_find(take_while(c, "<>!=?+-*/~&|%"));
    if (op == OP_NONE)
        return conf_expand_fail(x, "one of == != < <= >= > is expected after {%.*s} in \"%.*s\"", (int)left.n, left.p,
                                (int)c->whole.n, c->whole.p);
    word = take_while(c, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
    if (word.n > 0 && !slice_eq(word, SLICE_LIT("level")))
        return conf_expand_fail(x, "unknown comparison \"%s%.*s\"", op_texts[op], (int)word.n, word.p);
    if (!at_brace(c))
        return conf_expand_fail(x, "a {text} is expected after %s in \"%.*s\"", op_texts[op], (int)c->whole.n,
                                c->whole.p);
    c->rest = skip_blanks(c->rest);
    return take_braced(x, c, &right) && compare(x, left, op, word.n > 0, right, holds);
}

/* ---- ${...} ---- */

/* The text of one branch: {text}, or all the rest. */
static bool take_branch(struct conf_expansion *x, struct cursor *c, struct slice *text)
{
    if (at_brace(c)) {
        c->rest = skip_blanks(c->rest);
        return take_braced(x, c, text);
    }
    *text = c->rest;
    c->rest = SLICE_EMPTY;
    return true;
}

/* What follows the condition: ?text, :text, ?{text}:{text}, or ?{text}:text. */
static bool branches(struct conf_expansion *x, struct cursor *c, bool holds, struct buf *out)
{
    struct slice text;
    char which = c->rest.p[0];

    c->rest = slice_from(c->rest, 1);
    if (!take_branch(x, c, &text))
        return false;
    if (holds == (which == '?') && !conf_expand_text(x, text, out))
        return false;
    if (c->rest.n == 0)
        return true;
    if (which != '?' || c->rest.p[0] != ':')
        return conf_expand_fail(x, "unexpected \"%.*s\" in \"%.*s\"", (int)c->rest.n, c->rest.p, (int)c->whole.n,
                                c->whole.p);
    return branches(x, c, holds, out);
}

static bool comparison_macro(struct conf_expansion *x, struct cursor *c, struct buf *out)
{
    bool holds = false;

    if (!comparison(x, c, &holds))
        return false;
    if (c->rest.n == 0)
        return holds ? put(x, out, SLICE_LIT("true")) : true;
    if (c->rest.p[0] != '?' && c->rest.p[0] != ':')
        return conf_expand_fail(x, "? or : is expected before \"%.*s\"", (int)c->rest.n, c->rest.p);
    return branches(x, c, holds, out);
}

static bool name_macro(struct conf_expansion *x, struct cursor *c, struct buf *out)
{
    char name[200];
    const char *raw;
    size_t n = 0;

    c->rest = skip_blanks(c->rest);
    while (n < c->rest.n && name_char(c->rest.p[n]))
        n++;
    if (n == 0 || n >= sizeof name)
        return conf_expand_fail(x, "a name is expected in \"%.*s\"", (int)c->whole.n, c->whole.p);
    memcpy(name, c->rest.p, n);
    name[n] = '\0';
    c->rest = skip_blanks(slice_from(c->rest, n));
    if (c->rest.n == 0)
        return conf_expand_name(x, name, out);
    if (c->rest.p[0] != '?' && c->rest.p[0] != ':')
        return conf_expand_fail(x, "no $name goes on with \"%.*s\"", (int)c->rest.n, c->rest.p);
    if (!conf_view_raw(x, name, &raw))
        return false;
    return branches(x, c, raw != NULL && raw[0] != '\0', out);
}

/* What follows a $ at the start of *s; takes it. */
static bool macro(struct conf_expansion *x, struct slice *s, struct buf *out)
{
    struct cursor c;
    size_t n = 0;
    char open = s->n > 0 ? s->p[0] : '\0';

    if (open == '$') {
        *s = slice_from(*s, 1);
        return put(x, out, SLICE_LIT("$"));
    }
    if (open == '{' || open == '(') {
        n = group_length(*s, open, open == '{' ? '}' : ')');
        if (n == SLICE_NOT_FOUND)
            return conf_expand_fail(x, "the $%c is not closed in \"$%.*s\"", open, (int)s->n, s->p);
        c.whole = c.rest = slice_make(s->p + 1, n - 2);
    } else {
        while (n < s->n && name_char(s->p[n]))
            n++;
        c.whole = c.rest = slice_head(*s, n);
    }
    if (c.rest.n == 0)
        return conf_expand_fail(x, "a $ without a name; a dollar sign itself is written $$");
    *s = slice_from(*s, n);
    return at_brace(&c) ? comparison_macro(x, &c, out) : name_macro(x, &c, out);
}

bool conf_expand_text(struct conf_expansion *x, struct slice text, struct buf *out)
{
    bool ok = true;

    if (x->depth >= DEPTH_MOST)
        return conf_expand_fail(x, "$ is nested more than %u deep", DEPTH_MOST);
    x->depth++;
    while (ok && text.n > 0) {
        size_t dollar = slice_find(text, '$');

        ok = put(x, out, slice_head(text, dollar));
        text = dollar == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_make(text.p + dollar, text.n - dollar);
        if (ok && text.n > 0) {
            text = slice_make(text.p + 1, text.n - 1);
            ok = macro(x, &text, out);
        }
    }
    x->depth--;
    return ok;
}

/* ---- names ---- */

/*
 * Fails with the names of the loop that leads back to `name`. It is told from its alphabetically first name, so that it
 * is one complaint however it was entered.
 */
static bool fail_loop(struct conf_expansion *x, const char *name)
{
    const char *names[DEPTH_MOST], *first = name;
    size_t n = 0, start = 0;
    struct buf text = {0};

    for (const struct conf_frame *f = x->top; n < DEPTH_MOST; f = f->outer) {
        names[n++] = f->name;
        if (strcmp(f->name, first) < 0)
            first = f->name;
        if (strcmp(f->name, name) == 0)
            break;
    }
    while (start + 1 < n && strcmp(names[start], first) != 0)
        start++;
    for (size_t i = 0; i <= n; i++)
        buf_printf(&text, "%s$%s", i > 0 ? " -> " : "", names[(start + n - i) % n]);
    conf_expand_fail(x, "it refers to itself: %s", buf_cstr(&text));
    x->failure.culprit = arena_strdup(x->view->arena, first);
    buf_release(&text);
    return false;
}

bool conf_expand_name(struct conf_expansion *x, const char *name, struct buf *out)
{
    struct conf_frame frame = {x->top, name};
    const char *raw;
    bool ok;

    for (const struct conf_frame *f = x->top; f != NULL; f = f->outer)
        if (strcmp(f->name, name) == 0)
            return fail_loop(x, name);
    x->top = &frame;
    ok = conf_view_raw(x, name, &raw) && (raw == NULL || conf_expand_text(x, slice_str(raw), out));
    x->top = frame.outer;
    return ok;
}

void conf_expand_scan(const char *text, void (*found)(void *ctx, const char *name, bool tested), void *ctx)
{
    for (struct slice s = slice_str(text); s.n > 0;) {
        size_t dollar = slice_find(s, '$'), n = 0;
        struct slice after;
        char name[200];

        if (dollar == SLICE_NOT_FOUND)
            return;
        s = slice_from(s, dollar + 1);
        if (s.n > 0 && s.p[0] == '$') {
            s = slice_from(s, 1);
            continue;
        }
        if (s.n > 0 && (s.p[0] == '{' || s.p[0] == '('))
            s = skip_blanks(slice_from(s, 1));
        while (n < s.n && n < sizeof name - 1 && name_char(s.p[n])) {
            name[n] = s.p[n];
            n++;
        }
        name[n] = '\0';
        s = slice_from(s, n);
        after = skip_blanks(s);
        if (n > 0)
            found(ctx, name, after.n > 0 && (after.p[0] == '?' || after.p[0] == ':'));
    }
}
