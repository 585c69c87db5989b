/* The choice among the servers of a mysql: table: see mysql_hosts.h. Part of mysql_pool. */
#include "lookup/mysql_hosts.h"

#include "core/base/alloc.h"

#include <stdlib.h>

void mysql_hosts_init(struct mysql_hosts *h, struct loop *loop, const struct query_file *file)
{
    h->loop = loop;
    h->file = file;
    h->state = mem_new_array(file->nhosts, sizeof *h->state);
}

void mysql_hosts_release(struct mysql_hosts *h)
{
    for (size_t i = 0; i < h->file->nhosts; i++)
        complaint_release(&h->state[i].complaint);
    mem_free(h->state);
}

static bool is_healthy(const struct mysql_hosts *h, size_t i)
{
    uint64_t failed = h->state[i].failed_ms;

    return h->file->nhosts == 1 || failed == 0 || loop_now_ms(h->loop) - failed >= h->file->retry_interval_ms;
}

static size_t pick_healthy(const struct mysql_hosts *h, uint64_t tried, bool local)
{
    size_t choice = MYSQL_HOSTS_NONE;
    uint32_t seen = 0;

    for (size_t i = 0; i < h->file->nhosts; i++) {
        if (tried >> i & 1 || (h->file->host[i].host == NULL) != local || !is_healthy(h, i))
            continue;
        if (arc4random_uniform(++seen) == 0) /* so each of those seen has the same chance */
            choice = i;
    }
    return choice;
}

static size_t pick_failed(const struct mysql_hosts *h, uint64_t tried)
{
    size_t choice = MYSQL_HOSTS_NONE;

    for (size_t i = 0; i < h->file->nhosts; i++)
        if (!(tried >> i & 1) && (choice == MYSQL_HOSTS_NONE || h->state[i].failed_ms < h->state[choice].failed_ms))
            choice = i;
    return choice;
}

size_t mysql_hosts_pick(const struct mysql_hosts *h, uint64_t tried, bool desperate)
{
    size_t choice = pick_healthy(h, tried, true);

    if (choice == MYSQL_HOSTS_NONE)
        choice = pick_healthy(h, tried, false);
    if (choice == MYSQL_HOSTS_NONE && desperate)
        choice = pick_failed(h, tried);
    return choice;
}

static char *title(const struct mysql_hosts *h, size_t i)
{
    return mem_printf("connect to mysql server %s", h->file->host[i].label);
}

void mysql_hosts_failed(struct mysql_hosts *h, size_t i, const char *why)
{
    h->state[i].failed_ms = loop_now_ms(h->loop);
    if (h->file->nhosts > 1) { /* the failure of the only one is told by the tables */
        char *what = title(h, i);

        complaint_raise(&h->state[i].complaint, h->loop, what, why);
        mem_free(what);
    }
}

void mysql_hosts_worked(struct mysql_hosts *h, size_t i)
{
    h->state[i].failed_ms = 0;
    if (h->state[i].complaint.text != NULL) {
        char *what = title(h, i);

        complaint_clear(&h->state[i].complaint, what);
        mem_free(what);
    }
}
