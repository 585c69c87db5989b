/*
 * How much the client library reads: it goes on for as long as a server sends, and keeps what it reads of a result's
 * columns. A server that sends without end is cut off here, so that it can neither stop the loop nor fill the memory,
 * nor keep a thread that connects.
 */
#ifndef MTA_LOOKUP_MYSQL_INTAKE_H
#define MTA_LOOKUP_MYSQL_INTAKE_H

#include <stdint.h>
#include <stddef.h>

/* What a server has sent; beyond either limit its connection is shut down. */
struct mysql_intake {
    size_t bytes, most;
    int64_t until_s; /* monotonic clock; 0: somebody else looks at the time */
};

/* Nothing yet; at most `most` bytes, for at most `seconds` (0: no limit). */
struct mysql_intake mysql_intake_begin(size_t most, uint64_t seconds);
/* What the library reads in this thread from now on is counted there; NULL: no more. Any thread. */
void mysql_intake_count(struct mysql_intake *);

#endif
