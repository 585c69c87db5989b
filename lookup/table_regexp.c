/*
 * regexp:FILE, regexp_table(5): POSIX regular expressions, by the C library in its "C" locale: bytes, ASCII letters
 * without regard to case, leftmost-longest.
 *
 * Two things bound what a stranger's key can do. Back-references, an addition of the C library that POSIX does not have
 * in extended expressions, are refused: with them a key of 128 bytes was seen to take half a minute; without them the
 * time grows with the square of the length at most. And the library keeps each state of its automaton that a key
 * brings forth, for ever; so an expression is compiled anew after every RENEW_AFTER bytes that it was matched against.
 */
#include "lookup/table_pattern.h"

#include "core/base/alloc.h"

#include <regex.h>

#define RENEW_AFTER 16384

struct expression {
    regex_t re;
    bool compiled;
    const char *text;
    int flags;
    size_t matched; /* bytes */
};

/* Past a bracket expression, of which [ is the first character; in it a backslash is a plain character. */
static const char *skip_bracket(const char *p)
{
    p += p[1] == '^' ? 2 : 1;
    if (*p == ']')
        p++;
    for (; *p != '\0' && *p != ']'; p++)
        if (*p == '[' && p[1] != '\0' && strchr(":.=", p[1]) != NULL) {
            char kind = p[1];

            for (p += 2; p[0] != '\0' && (p[0] != kind || p[1] != ']');)
                p++;
            p += p[0] != '\0' ? 1 : -1;
        }
    return p;
}

static bool has_back_reference(const char *p)
{
    for (; *p != '\0'; p++) {
        if (*p == '[')
            p = skip_bracket(p);
        else if (*p == '\\' && *++p >= '1' && *p <= '9')
            return true;
        if (*p == '\0')
            return false;
    }
    return false;
}

static bool compile(void *pattern, const struct pattern_text *text, unsigned *groups, struct buf *why)
{
    struct expression *e = pattern;
    int error;

    if (has_back_reference(text->text)) {
        buf_add_str(why, "back-references (\\1) are not supported in regexp: tables, use pcre:");
        return false;
    }
    e->text = text->text;
    e->flags = (int)text->flags | (text->captures ? 0 : REG_NOSUB);
    error = regcomp(&e->re, e->text, e->flags);
    if (error != 0) {
        char message[128];

        regerror(error, &e->re, message, sizeof message);
        buf_printf(why, "the pattern is malformed: %s", message);
        return false;
    }
    e->compiled = true;
    *groups = (unsigned)e->re.re_nsub;
    return true;
}

static void release(void *pattern)
{
    struct expression *e = pattern;

    if (e->compiled)
        regfree(&e->re);
    e->compiled = false;
}

static bool begin(struct pattern_subject *s, unsigned groups)
{
    s->scratch = mem_new_array(groups + 1, sizeof(regmatch_t));
    return true;
}

static void end(struct pattern_subject *s)
{
    mem_free(s->scratch);
}

static bool renew(struct expression *e)
{
    release(e);
    e->matched = 0;
    e->compiled = regcomp(&e->re, e->text, e->flags) == 0;
    return e->compiled;
}

static enum pattern_match failed(struct pattern_subject *s, const struct expression *e, int error)
{
    s->why = s->why_text;
    if (!e->compiled)
        s->why = "the pattern could not be compiled again";
    else
        regerror(error, &e->re, s->why_text, sizeof s->why_text);
    return PATTERN_FAILED;
}

static enum pattern_match match(void *pattern, struct pattern_subject *s, unsigned groups)
{
    struct expression *e = pattern;
    regmatch_t *m = s->scratch;
    int error;

    if ((!e->compiled || e->matched > RENEW_AFTER) && !renew(e))
        return failed(s, e, 0);
    e->matched += s->key.n;
    error = regexec(&e->re, s->key.p, groups > 0 ? groups + 1 : 0, m, 0);
    if (error == REG_NOMATCH)
        return PATTERN_NO;
    if (error != 0)
        return failed(s, e, error);
    for (unsigned i = 1; i <= groups; i++)
        s->spans[i] = m[i].rm_so < 0 ? (struct pattern_span){0, 0}
                                     : (struct pattern_span){(size_t)m[i].rm_so, (size_t)m[i].rm_eo};
    return PATTERN_YES;
}

static const struct pattern_flag flags[] = {
    {'i', REG_ICASE},
    {'m', REG_NEWLINE},
    {'x', REG_EXTENDED},
    {'\0', 0},
};

static const struct pattern_engine engine = {
    .flags = flags,
    .default_flags = REG_EXTENDED | REG_ICASE,
    .two_patterns = true,
    .empty_value = true,
    .parallel = 1, /* the library would let only one at a time, and it is renewed without a lock */
    .size = sizeof(struct expression),
    .compile = compile,
    .release = release,
    .begin = begin,
    .end = end,
    .match = match,
};

TABLE_PATTERN_KIND(regexp);
