/*
 * Templates of query files: see query_template.h; section 1.3 of postfix-semantics. Compiled when the query file is
 * read, expanded for each lookup by mysql_query and table_sqlite.
 *
 * An address is split at its last '@'. What a template needs of the key is collected over both templates, since a key
 * that the result format cannot be expanded for is not worth a query.
 */
#include "lookup/query_template.h"

/* A stretch of literal text, then one expansion. */
struct part {
    struct slice literal;
    char code; /* s u d S U D 1..9; 0: none, at the end */
};

struct format {
    struct part *parts;
    size_t count;
    bool needs_user, needs_domain; /* of the value: a result's %u and %d */
};

struct query_template {
    struct format query, result;
    bool needs_user, needs_domain; /* of the key */
    size_t needs_labels;
};

/* An address in its parts. */
struct address {
    struct slice whole, user, domain;
    bool has_at;
};

static struct address split(struct slice text)
{
    size_t at = slice_rfind(text, '@');
    struct address a = {.whole = text, .user = text, .domain = SLICE_EMPTY};

    a.has_at = at != SLICE_NOT_FOUND;
    if (a.has_at) {
        a.user = slice_head(text, at);
        a.domain = slice_from(text, at + 1);
    }
    return a;
}

/* ---- compiling ---- */

static void note_needs(struct query_template *t, struct format *f, char code)
{
    bool of_value = f == &t->result;

    if (code == 'u')
        *(of_value ? &f->needs_user : &t->needs_user) = true;
    else if (code == 'd')
        *(of_value ? &f->needs_domain : &t->needs_domain) = true;
    else if (code == 'U')
        t->needs_user = true;
    else if (code == 'D' || ascii_digit(code))
        t->needs_domain = true;
    if (ascii_digit(code) && t->needs_labels < (size_t)(code - '0'))
        t->needs_labels = (size_t)(code - '0');
}

static bool compile(struct query_template *t, struct format *f, struct arena *arena, struct slice text, struct buf *err)
{
    bool ok = true;

    /* Each expansion takes two bytes, but for a percent sign at the end. */
    f->parts = arena_new_array(arena, (text.n + 1) / 2 + 1, sizeof *f->parts);
    for (;;) {
        size_t percent = slice_find(text, '%');
        struct part *part = &f->parts[f->count++];

        part->literal = slice_head(text, percent);
        if (percent == SLICE_NOT_FOUND)
            return ok;
        part->code = percent + 1 < text.n ? text.p[percent + 1] : ' ';
        if (part->code == '%') {
            part->literal.n++; /* the first of the two */
            part->code = 0;
        } else if (strchr("sudSUD123456789", part->code) == NULL) {
            buf_printf(err, "\"%%%.*s\" is not an expansion; a literal percent sign is written %%%%\n",
                       percent + 1 < text.n, text.p + percent + 1);
            ok = false;
        }
        note_needs(t, f, part->code);
        text = slice_from(text, percent + 2);
    }
}

struct query_template *query_template_new(struct arena *arena, const char *query, const char *result_format,
                                          struct buf *err)
{
    struct query_template *t = ARENA_NEW(arena, struct query_template);
    bool query_ok = compile(t, &t->query, arena, slice_str(query), err);
    bool result_ok = compile(t, &t->result, arena, slice_str(result_format), err);

    return query_ok && result_ok ? t : NULL;
}

/*
 * Within quotes a backslash hides the character behind it from MySQL, but not from SQLite and not with MySQL's
 * NO_BACKSLASH_ESCAPES. Does it stand before a quote or an expansion, so that it matters?
 */
static bool is_unclear(const struct part *part, size_t backslash)
{
    if (backslash + 1 == part->literal.n)
        return part->code != 0;
    return strchr("'\"`", part->literal.p[backslash + 1]) != NULL;
}

bool query_template_is_quoted(const struct query_template *t)
{
    char quote = 0;

    for (size_t i = 0; i < t->query.count; i++) {
        const struct part *part = &t->query.parts[i];

        for (size_t j = 0; j < part->literal.n; j++) {
            char c = part->literal.p[j];

            if (quote != 0 && c == '\\') {
                if (is_unclear(part, j))
                    return false;
                j++;
            } else if (quote == 0 && (c == '\'' || c == '"' || c == '`')) {
                quote = c;
            } else if (c == quote) {
                quote = 0;
            }
        }
        if (part->code != 0 && quote != '\'')
            return false;
    }
    return true;
}

/* ---- expanding ---- */

/* The n-th label of the domain from the right, from 1; empty when there is none. */
static struct slice label(struct slice domain, size_t n)
{
    for (;;) {
        size_t dot = slice_rfind(domain, '.');

        if (--n == 0)
            return dot == SLICE_NOT_FOUND ? domain : slice_from(domain, dot + 1);
        if (dot == SLICE_NOT_FOUND)
            return SLICE_EMPTY;
        domain = slice_head(domain, dot);
    }
}

bool query_template_qualifies(const struct query_template *t, struct slice key)
{
    struct address a = split(key);

    if (key.n == 0 || (t->needs_domain && a.domain.n == 0))
        return false;
    if (t->needs_user && a.has_at && a.user.n == 0)
        return false;
    for (size_t n = 1; n <= t->needs_labels; n++)
        if (label(a.domain, n).n == 0)
            return false;
    return true;
}

static struct slice expansion(char code, const struct address *key, const struct address *value)
{
    switch (code) {
    case 's': return value->whole;
    case 'u': return value->user;
    case 'd': return value->domain;
    case 'S': return key->whole;
    case 'U': return key->user;
    case 'D': return key->domain;
    default: return label(key->domain, (size_t)(code - '0'));
    }
}

static void quote_nothing(void *ctx, struct buf *out, struct slice text)
{
    (void)ctx;
    buf_add_slice(out, text);
}

static void expand(const struct format *f, const struct address *key, const struct address *value,
                   query_quote_fn *quote, void *ctx, struct buf *out)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct part *part = &f->parts[i];

        buf_add_slice(out, part->literal);
        if (part->code != 0)
            quote(ctx, out, expansion(part->code, key, value));
    }
}

void query_template_expand(const struct query_template *t, struct slice key, query_quote_fn *quote, void *ctx,
                           struct buf *out)
{
    struct address a = split(key);

    expand(&t->query, &a, &a, quote, ctx, out);
}

bool query_template_format(const struct query_template *t, struct slice key, struct slice value, struct buf *out)
{
    struct address k = split(key), v = split(value);

    if (t->result.needs_domain && v.domain.n == 0)
        return false;
    if (t->result.needs_user && v.has_at && v.user.n == 0)
        return false;
    expand(&t->result, &k, &v, quote_nothing, NULL, out);
    return true;
}
