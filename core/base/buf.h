/*
 * A growable byte buffer with a hard cap: what comes from a socket is appended at the end and consumed from the
 * front. Zero-initialised with `max` set is valid; it owns no memory while empty after buf_release.
 */
#ifndef MTA_BASE_BUF_H
#define MTA_BASE_BUF_H

#include "core/base/slice.h"

#include <stdarg.h>

struct buf {
    char *data;
    size_t start, end, cap;
    size_t max; /* 0: no limit (only for what we produce ourselves) */
};

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}
static inline struct slice buf_slice(const struct buf *b)
{
    return b->end == b->start ? SLICE_EMPTY : slice_make(b->data + b->start, b->end - b->start);
}
/* How many more bytes the cap allows. */
size_t buf_room(const struct buf *);
/* Room for at least n more bytes at the returned place, or NULL when the cap forbids it; then buf_commit what was used.
 */
char *buf_reserve(struct buf *, size_t n);
void buf_commit(struct buf *, size_t n);
/* All or nothing; false when the cap would be exceeded. */
bool buf_add(struct buf *, const void *p, size_t n);
bool buf_add_slice(struct buf *, struct slice);
bool buf_add_str(struct buf *, const char *);
bool buf_add_char(struct buf *, char);
bool buf_printf(struct buf *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Drops n bytes from the front. */
void buf_consume(struct buf *, size_t n);
/* Empties but keeps the memory; a cap of more than 64 KiB of kept memory is given back. */
void buf_clear(struct buf *);
/* Gives the memory back. */
void buf_release(struct buf *);
/* The content as a C string (appends a NUL that does not count); valid until the next change. */
const char *buf_cstr(struct buf *);

#endif
