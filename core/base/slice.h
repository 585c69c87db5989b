/*
 * Borrowed text: a pointer and a length, no NUL assumed. Parsers take and give slices; whoever keeps one copies it
 * into its own arena.
 */
#ifndef MTA_BASE_SLICE_H
#define MTA_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *p;
    size_t n;
};

#define SLICE_LIT(s)    ((struct slice){(s), sizeof(s) - 1})
#define SLICE_EMPTY     ((struct slice){NULL, 0})
#define SLICE_NOT_FOUND SIZE_MAX

static inline struct slice slice_make(const void *p, size_t n)
{
    return (struct slice){(const char *)p, n};
}

/* The text of a C string; NULL gives an empty slice. */
static inline struct slice slice_str(const char *s)
{
    return slice_make(s, s ? strlen(s) : 0);
}

/* From `off` to the end; an offset past the end gives an empty slice. */
static inline struct slice slice_from(struct slice s, size_t off)
{
    return off >= s.n ? SLICE_EMPTY : slice_make(s.p + off, s.n - off);
}

static inline struct slice slice_head(struct slice s, size_t n)
{
    return slice_make(s.p, n < s.n ? n : s.n);
}

bool slice_eq(struct slice a, struct slice b);
/* ASCII case-insensitive comparisons. */
bool slice_ieq(struct slice a, struct slice b);
bool slice_istarts(struct slice s, struct slice prefix);
bool slice_starts(struct slice s, struct slice prefix);
/* Offset of the first / last c, or SLICE_NOT_FOUND. */
size_t slice_find(struct slice s, char c);
size_t slice_rfind(struct slice s, char c);
/* Without leading and trailing SP, HT, CR, LF. */
struct slice slice_trim(struct slice s);
/*
 * Takes the next token from *rest, skipping any of the separators in `seps` before it; an empty result (n == 0)
 * means there is none left.
 */
struct slice slice_token(struct slice *rest, const char *seps);
/* Decimal digits only, at most `max`; false when empty, not a number or too large. */
bool slice_u64(struct slice s, uint64_t max, uint64_t *value);

/* ASCII only, whatever the locale. */
static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}
static inline char ascii_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}
static inline bool ascii_digit(char c)
{
    return c >= '0' && c <= '9';
}
static inline bool ascii_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool ascii_alnum(char c)
{
    return ascii_alpha(c) || ascii_digit(c);
}
static inline bool ascii_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

#endif
