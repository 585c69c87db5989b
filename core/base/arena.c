/* The bump allocator: see arena.h. Blocks double from 512 bytes to 16 KiB; a larger request gets a block of its own. */
#include "core/base/arena.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>

#define ARENA_FIRST 512u
#define ARENA_MOST  16384u

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    alignas(max_align_t) char data[];
};

static struct arena_block *block_for(struct arena *a, size_t need)
{
    struct arena_block *b = a->head;
    size_t size;

    if (b != NULL && b->size - b->used >= need)
        return b;
    size = b == NULL ? ARENA_FIRST : (b->size * 2 > ARENA_MOST ? ARENA_MOST : b->size * 2);
    if (size < need)
        size = need;
    b = mem_new(sizeof *b + size);
    b->size = size;
    b->next = a->head;
    a->head = b;
    return b;
}

void *arena_new(struct arena *a, size_t size)
{
    size_t need;
    struct arena_block *b;
    void *p;

    MTA_ASSERT(size < SIZE_MAX / 2);
    need = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    b = block_for(a, need);
    p = b->data + b->used;
    b->used += need;
    a->used += need;
    return p;
}

void *arena_new_array(struct arena *a, size_t n, size_t size)
{
    MTA_ASSERT(size == 0 || n <= SIZE_MAX / size);
    return arena_new(a, n * size);
}

char *arena_slice_dup(struct arena *a, struct slice s)
{
    char *copy = arena_new(a, s.n + 1);

    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return s == NULL ? NULL : arena_slice_dup(a, slice_str(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    int n;
    char *out;

    MTA_ASSERT(fmt != NULL);
    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    MTA_ASSERT(n >= 0);
    out = arena_new(a, (size_t)n + 1);
    vsnprintf(out, (size_t)n + 1, fmt, again);
    va_end(again);
    return out;
}

void arena_clear(struct arena *a)
{
    while (a->head != NULL) {
        struct arena_block *b = a->head;

        a->head = b->next;
        mem_free(b);
    }
    a->used = 0;
}
