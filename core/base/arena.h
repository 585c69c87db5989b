/*
 * A bump allocator: one for each session, transaction and delivery job. Everything in it dies with it. A pointer may
 * only point into an arena that lives at least as long as its holder.
 */
#ifndef MTA_BASE_ARENA_H
#define MTA_BASE_ARENA_H

#include "core/base/slice.h"

struct arena_block;

/* Embed it; zero-initialised is empty and valid, and costs no heap memory until the first allocation. */
struct arena {
    struct arena_block *head;
    size_t used; /* bytes handed out since the last clear */
};

/* Zeroed memory aligned for any type, valid until arena_clear. */
void *arena_new(struct arena *, size_t size);
void *arena_new_array(struct arena *, size_t n, size_t size);
/* NUL-terminated copies. */
char *arena_strdup(struct arena *, const char *);
char *arena_slice_dup(struct arena *, struct slice);
char *arena_printf(struct arena *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Releases everything; the arena may be used again. */
void arena_clear(struct arena *);

#define ARENA_NEW(a, T) ((T *)arena_new((a), sizeof(T)))

#endif
