/* Growable bytes with a cap: see buf.h. */
#include "core/base/buf.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#include <stdio.h>

#define BUF_FIRST 256u
#define BUF_KEEP  65536u

size_t buf_room(const struct buf *b)
{
    if (b->max == 0)
        return SIZE_MAX / 2;
    return b->max > buf_len(b) ? b->max - buf_len(b) : 0;
}

static void make_space(struct buf *b, size_t n)
{
    size_t len = buf_len(b), cap;

    if (b->cap - b->end >= n)
        return;
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, len);
        b->start = 0;
        b->end = len;
        if (b->cap - len >= n && b->cap / 2 >= len)
            return;
    }
    for (cap = b->cap ? b->cap : BUF_FIRST; cap - len < n; cap *= 2)
        MTA_ASSERT(cap < SIZE_MAX / 4);
    b->data = mem_resize(b->data, cap);
    b->cap = cap;
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (n > buf_room(b))
        return NULL;
    make_space(b, n + 1); /* one more for buf_cstr */
    return b->data + b->end;
}

void buf_commit(struct buf *b, size_t n)
{
    MTA_ASSERT(b->cap - b->end >= n);
    b->end += n;
}

bool buf_add(struct buf *b, const void *p, size_t n)
{
    char *to;

    if (n == 0)
        return true;
    to = buf_reserve(b, n);
    if (to == NULL)
        return false;
    memcpy(to, p, n);
    b->end += n;
    return true;
}

bool buf_add_slice(struct buf *b, struct slice s)
{
    return buf_add(b, s.p, s.n);
}

bool buf_add_str(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

bool buf_add_char(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

bool buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;
    char *to;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    MTA_ASSERT(n >= 0);
    to = buf_reserve(b, (size_t)n);
    if (to == NULL)
        return false;
    vsnprintf(to, (size_t)n + 1, fmt, ap);
    b->end += (size_t)n;
    return true;
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    bool ok;

    va_start(ap, fmt);
    ok = buf_vprintf(b, fmt, ap);
    va_end(ap);
    return ok;
}

void buf_consume(struct buf *b, size_t n)
{
    MTA_ASSERT(n <= buf_len(b));
    b->start += n;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buf_clear(struct buf *b)
{
    if (b->cap > BUF_KEEP) {
        buf_release(b);
        return;
    }
    b->start = b->end = 0;
}

void buf_release(struct buf *b)
{
    mem_free(b->data);
    b->data = NULL;
    b->start = b->end = b->cap = 0;
}

const char *buf_cstr(struct buf *b)
{
    make_space(b, 1);
    b->data[b->end] = '\0';
    return b->data + b->start;
}
