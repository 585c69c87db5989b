/*
 * Queue ids: microseconds since 1970 made strictly increasing, so that they sort by arrival, never repeat within a
 * queue even when the clock jumps back, and print as upper-case hexadecimal the way Postfix's short ids do.
 */
#ifndef MTA_BASE_ID_H
#define MTA_BASE_ID_H

#include "core/base/slice.h"

#define ID_TEXT 17 /* room for a printed id and its NUL */

/* The next id, greater than any before it. Loop thread only. */
uint64_t id_next(void);
/* Makes later ids greater than `seen`: called with the greatest id of the queue at start. */
void id_seen(uint64_t seen);
/* The last one given out or seen. Loop thread only. */
uint64_t id_last(void);
/* None of the next minute will reach this one. Loop thread only. */
uint64_t id_ahead(void);
/* Prints; returns out. */
const char *id_format(char out[ID_TEXT], uint64_t id);
/* Parses what id_format prints; false when it is not an id. */
bool id_parse(struct slice text, uint64_t *id);

#endif
