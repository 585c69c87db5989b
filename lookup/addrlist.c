/*
 * The address list that an alias table answers: see addrlist.h. Called by alias expansion. The tokens are those of
 * RFC 5322 section 3.2; white space and comments between them mean nothing, and two words without an operator between
 * them belong to two addresses, or to the name before a "<".
 */
#include "lookup/addrlist.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"

struct parser {
    struct slice rest;
    size_t max;
    struct arena *arena;
    struct addrlist *out;
    size_t cap;
    size_t group;    /* the addresses from here on are only a name when a "<" follows */
    struct buf addr; /* the address so far, internal form */
    bool started;    /* there is one, though perhaps only '""' so far */
    bool after_word; /* its last token was a word, not an operator */
    enum addrlist_result result;
};

static void fail(struct parser *p, enum addrlist_result result)
{
    if (p->result == ADDRLIST_OK)
        p->result = result;
    p->rest = SLICE_EMPTY;
}

static char take(struct parser *p)
{
    char c = p->rest.p[0];

    p->rest = slice_from(p->rest, 1);
    return c;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_comment(struct parser *p)
{
    size_t depth = 1;

    while (p->rest.n > 0 && depth > 0) {
        char c = take(p);

        if (c == '\\' && p->rest.n > 0)
            take(p);
        else if (c == '(')
            depth++;
        else if (c == ')')
            depth--;
    }
    if (depth > 0)
        fail(p, ADDRLIST_MALFORMED);
}

static void add_char(struct parser *p, char c)
{
    if ((unsigned char)c < ' ' || c == 0x7f)
        fail(p, ADDRLIST_MALFORMED);
    else
        buf_add_char(&p->addr, c);
}

static void push(struct parser *p, const char *text)
{
    if (p->out->count == p->cap) {
        const char **bigger = arena_new_array(p->arena, p->cap ? p->cap * 2 : 8, sizeof *bigger);

        if (p->out->count > 0)
            memcpy(bigger, p->out->items, p->out->count * sizeof *bigger);
        p->out->items = bigger;
        p->cap = p->cap ? p->cap * 2 : 8;
    }
    p->out->items[p->out->count++] = text;
}

static void end_address(struct parser *p)
{
    struct addr_parts parts = addr_split(buf_slice(&p->addr));

    if (!p->started || p->result != ADDRLIST_OK)
        return;
    if (parts.local.n == 0 && (p->out->count > 0 || parts.domain.n == 0))
        fail(p, ADDRLIST_MALFORMED);
    else
        push(p, arena_slice_dup(p->arena, buf_slice(&p->addr)));
    buf_clear(&p->addr);
    p->started = p->after_word = false;
}

/* No "<" can make a name of the addresses so far any more: now they count. */
static void end_group(struct parser *p)
{
    p->group = p->out->count;
    if (p->group > p->max)
        fail(p, ADDRLIST_TOO_MANY);
}

/* Up to the delimiter that closes a quoted string or literal; backslashes go. */
static void take_until(struct parser *p, char close)
{
    while (p->rest.n > 0) {
        char c = take(p);

        if (c == close)
            return;
        if (c == '\\' && p->rest.n > 0)
            c = take(p);
        add_char(p, c);
    }
    fail(p, ADDRLIST_MALFORMED);
}

static void take_atom(struct parser *p)
{
    do {
        char c = take(p);

        if (c == '\\') {
            if (p->rest.n == 0) {
                fail(p, ADDRLIST_MALFORMED);
                return;
            }
            c = take(p);
        }
        add_char(p, c);
    } while (p->rest.n > 0 && !is_space(p->rest.p[0]) && strchr("()<>[]:;@,.\"", p->rest.p[0]) == NULL);
}

static void take_word(struct parser *p)
{
    char c = p->rest.p[0];

    if (p->after_word)
        end_address(p);
    if (p->rest.n == 0)
        return; /* that one was malformed */
    p->started = p->after_word = true;
    if (c == '"') {
        take(p);
        take_until(p, '"');
    } else if (c == '[') {
        buf_add_char(&p->addr, take(p));
        take_until(p, ']');
        buf_add_char(&p->addr, ']');
    } else {
        take_atom(p);
    }
}

/* One token that is not about lists. */
static void take_token(struct parser *p)
{
    char c = p->rest.p[0];

    if (is_space(c)) {
        take(p);
    } else if (c == '(') {
        take(p);
        skip_comment(p);
    } else if (c == '.' || c == '@') {
        buf_add_char(&p->addr, take(p));
        p->started = true;
        p->after_word = false;
    } else if (strchr(")>]:", c) != NULL) {
        fail(p, ADDRLIST_MALFORMED);
    } else {
        take_word(p);
    }
}

/* "<@one,@two:user@example.com>": RFC 5321 appendix C lets us ignore the route. */
static void skip_route(struct parser *p)
{
    struct slice inside = slice_head(p->rest, slice_find(p->rest, '>'));
    size_t colon = slice_find(inside, ':');

    if (inside.n > 0 && inside.p[0] == '@' && colon != SLICE_NOT_FOUND)
        p->rest = slice_from(p->rest, colon + 1);
}

/* Behind "<": what came before it was a name. */
static void take_angle(struct parser *p)
{
    size_t before;

    buf_clear(&p->addr);
    p->started = p->after_word = false;
    p->out->count = before = p->group;
    skip_route(p);
    while (p->rest.n > 0 && p->rest.p[0] != '>') {
        if (strchr("<,;", p->rest.p[0]) != NULL)
            fail(p, ADDRLIST_MALFORMED);
        else
            take_token(p);
    }
    if (p->rest.n > 0)
        take(p);
    else
        fail(p, ADDRLIST_MALFORMED);
    end_address(p);
    if (p->out->count != before + 1)
        fail(p, ADDRLIST_MALFORMED);
    end_group(p);
}

enum addrlist_result addrlist_parse(struct slice text, size_t max, struct arena *arena, struct addrlist *out)
{
    struct parser p = {.rest = text, .max = max, .arena = arena, .out = out};

    *out = (struct addrlist){0};
    while (p.rest.n > 0) {
        char c = p.rest.p[0];

        if (c == ',' || c == ';') {
            take(&p);
            end_address(&p);
            end_group(&p);
        } else if (c == '<') {
            take(&p);
            take_angle(&p);
        } else {
            take_token(&p);
        }
    }
    end_address(&p);
    end_group(&p);
    buf_release(&p.addr);
    return p.result;
}
