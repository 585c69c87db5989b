/* See header_addr.h. Called by the editor of content. */
#include "proto/grammar/header_addr.h"

enum header_addr_kind header_addr_kind(struct slice name)
{
    static const struct {
        const char *name;
        enum header_addr_kind kind;
    } rows[] = {
        {"From", HEADER_ADDR_SENDER},
        {"Sender", HEADER_ADDR_SENDER},
        {"Reply-To", HEADER_ADDR_SENDER},
        {"Resent-From", HEADER_ADDR_SENDER},
        {"Resent-Sender", HEADER_ADDR_SENDER},
        {"Resent-Reply-To", HEADER_ADDR_SENDER},
        {"Return-Receipt-To", HEADER_ADDR_SENDER},
        {"Disposition-Notification-To", HEADER_ADDR_SENDER},
        {"Errors-To", HEADER_ADDR_SENDER},
        {"To", HEADER_ADDR_RECIPIENT},
        {"Cc", HEADER_ADDR_RECIPIENT},
        {"Bcc", HEADER_ADDR_RECIPIENT},
        {"Resent-To", HEADER_ADDR_RECIPIENT},
        {"Resent-Cc", HEADER_ADDR_RECIPIENT},
        {"Resent-Bcc", HEADER_ADDR_RECIPIENT},
        {"Apparently-To", HEADER_ADDR_RECIPIENT},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (slice_ieq(name, slice_str(rows[i].name)))
            return rows[i].kind;
    return HEADER_ADDR_NONE;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The end of what begins at `i`: a comment, a quoted string, a domain literal; otherwise one character. */
static size_t token_end(struct slice v, size_t i)
{
    int depth = 0;
    char close = v.p[i] == '"' ? '"' : v.p[i] == '[' ? ']' : '\0';

    if (v.p[i] != '(' && close == '\0')
        return v.p[i] == '\\' && i + 1 < v.n ? i + 2 : i + 1;
    for (size_t k = i; k < v.n; k++) {
        if (v.p[k] == '\\')
            k++;
        else if (close != '\0' ? k > i && v.p[k] == close : v.p[k] == ')' && --depth == 0)
            return k + 1;
        else if (close == '\0' && v.p[k] == '(')
            depth++;
    }
    return v.n; /* not closed: all the rest */
}

/* Inside <>: what is before the last ':' of a source route is no part of the address. */
static bool in_brackets(struct slice v, size_t *at, struct header_addr *a)
{
    size_t i = *at + 1;

    a->start = i;
    while (i < v.n && v.p[i] != '>') {
        size_t next = token_end(v, i);

        if (v.p[i] == ':')
            a->start = next;
        i = next;
    }
    a->end = i < v.n ? i : v.n;
    *at = i < v.n ? i + 1 : v.n;
    while (a->start < a->end && is_space(v.p[a->start]))
        a->start++;
    while (a->end > a->start && is_space(v.p[a->end - 1]))
        a->end--;
    a->bracketed = true;
    return a->end > a->start && *at <= v.n && v.p[*at - 1] == '>';
}

/* From *at to the comma: "Name <address>", "address", "address (Name)". */
static bool in_item(struct slice v, size_t *at, struct header_addr *a)
{
    bool words = false, apart = false, broken = false;
    size_t i = *at;

    a->start = a->end = i;
    a->bracketed = false;
    while (i < v.n && v.p[i] != ',' && v.p[i] != ';') {
        size_t next = token_end(v, i);

        if (v.p[i] == '<') {
            *at = i;
            return in_brackets(v, at, a);
        }
        if (v.p[i] == ':') { /* a group: its members follow */
            words = apart = broken = false;
        } else if (is_space(v.p[i]) || v.p[i] == '(') {
            apart = words;
        } else {
            broken = broken || apart; /* two words are a name, not an address */
            if (!words)
                a->start = i;
            words = true;
            a->end = next;
        }
        i = next;
    }
    *at = i;
    return words && !broken;
}

bool header_addr_next(struct slice v, size_t *at, struct header_addr *a)
{
    while (*at < v.n) {
        size_t from = *at;

        if (v.p[*at] == ',' || v.p[*at] == ';' || is_space(v.p[*at])) {
            ++*at;
            continue;
        }
        if (in_item(v, at, a)) {
            /* what follows a bracket up to the comma is not another address */
            while (a->bracketed && *at < v.n && v.p[*at] != ',' && v.p[*at] != ';')
                *at = token_end(v, *at);
            return true;
        }
        if (*at == from)
            ++*at;
    }
    return false;
}

void header_addr_internal(struct buf *out, struct slice w)
{
    for (size_t i = 0; i < w.n;) {
        size_t next = token_end(w, i);

        if (w.p[i] == '"') {
            for (size_t k = i + 1; k < next && w.p[k] != '"'; k++) {
                if (w.p[k] == '\\' && k + 1 < next)
                    k++;
                buf_add_char(out, w.p[k]);
            }
        } else if (w.p[i] == '[') {
            buf_add(out, w.p + i, next - i);
        } else if (w.p[i] != '(' && !is_space(w.p[i])) {
            buf_add(out, w.p + i + (w.p[i] == '\\'), next - i - (w.p[i] == '\\'));
        }
        i = next;
    }
}
