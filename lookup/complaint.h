/*
 * A warning that would come with each of thousands of lookups while a server is down: logged when it is new, once a
 * minute while it lasts, and once more when it is over. Zero-initialised is content. Loop thread only.
 */
#ifndef MTA_LOOKUP_COMPLAINT_H
#define MTA_LOOKUP_COMPLAINT_H

#include "core/loop/loop.h"

struct complaint {
    char *text; /* NULL: nothing to complain about */
    uint64_t logged_ms;
};

/* Something is wrong with `what` (a table, a server). `text` is copied; it should not hold what varies by lookup. */
void complaint_raise(struct complaint *, struct loop *, const char *what, const char *text);
/* `what` works: says so when there was a complaint. */
void complaint_clear(struct complaint *, const char *what);
/* Forgets silently and gives the memory back. */
void complaint_release(struct complaint *);

#endif
