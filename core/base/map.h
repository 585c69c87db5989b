/*
 * A hash map from bytes to pointers. Keys are copied in; values are the caller's. The hash is seeded at random for
 * each process, so that keys chosen by a client cannot pile up in one bucket.
 */
#ifndef MTA_BASE_MAP_H
#define MTA_BASE_MAP_H

#include "core/base/slice.h"

struct map_slot;

/* Embed it; zero-initialised is an empty map. */
struct map {
    struct map_slot *slots;
    size_t count, cap;
};

/* The value, or NULL. */
void *map_get(const struct map *, struct slice key);
/* Sets the value (not NULL); answers the one it replaced, or NULL. */
void *map_put(struct map *, struct slice key, void *value);
/* Removes; answers the value that was there, or NULL. */
void *map_remove(struct map *, struct slice key);
/* Walks in no particular order: *at starts at 0; false at the end. The map must not change meanwhile. */
bool map_next(const struct map *, size_t *at, struct slice *key, void **value);
/* Drops all keys and the memory; values are the caller's to release before. */
void map_clear(struct map *);
/* The seeded hash itself. */
uint64_t map_hash(struct slice key);

#endif
