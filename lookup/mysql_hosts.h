/* Which server of a pool to connect to next, and what is known about the health of each. */
#ifndef MTA_LOOKUP_MYSQL_HOSTS_H
#define MTA_LOOKUP_MYSQL_HOSTS_H

#include "lookup/complaint.h"
#include "lookup/query_file.h"

#define MYSQL_HOSTS_NONE SIZE_MAX

struct mysql_host {
    uint64_t failed_ms; /* when it failed last; 0: it did not, or has worked since */
    struct complaint complaint;
};

struct mysql_hosts {
    struct loop *loop;
    const struct query_file *file; /* what `hosts` says; borrowed */
    struct mysql_host *state;      /* file->nhosts */
};

void mysql_hosts_init(struct mysql_hosts *, struct loop *, const struct query_file *);
void mysql_hosts_release(struct mysql_hosts *);
/*
 * The index of a server whose bit in `tried` is not set: UNIX sockets first, among equals at random, without those that
 * failed less than retry_interval ago. When there is none, and `desperate`, the one of these that failed first. A
 * single server is never avoided. MYSQL_HOSTS_NONE when none is left.
 */
size_t mysql_hosts_pick(const struct mysql_hosts *, uint64_t tried, bool desperate);
void mysql_hosts_failed(struct mysql_hosts *, size_t host, const char *why);
void mysql_hosts_worked(struct mysql_hosts *, size_t host);

#endif
