/*
 * When to try again, when to give up, and how many deliveries one destination gets at a time. Pure: the clock is an
 * argument, so that a clock that jumps is a test case.
 */
#ifndef MTA_QUEUE_BACKOFF_H
#define MTA_QUEUE_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The next attempt for a message that arrived at arrival_us and was deferred at now_us: as much later as the message
 * is old, but at least minimal_ms and at most maximal_ms later. An arrival in the future counts as now.
 */
uint64_t backoff_next_us(uint64_t now_us, uint64_t arrival_us, uint64_t minimal_ms, uint64_t maximal_ms);

/* Has a message been in the queue for lifetime_ms? Never when it arrived in the future. */
bool backoff_expired(uint64_t now_us, uint64_t arrival_us, uint64_t lifetime_ms);

/*
 * The concurrency window of a destination. It opens by 1/size with each success, so by about one for each round of
 * deliveries, and only while it is in use; it closes by one with each failure of the destination.
 */
struct backoff_window {
    double size;
    uint32_t initial, limit; /* limit 0: none */
};

void backoff_window_open(struct backoff_window *, uint32_t initial, uint32_t limit);
/* `running`: deliveries to the destination that were going on, the successful one included. */
void backoff_window_success(struct backoff_window *, uint32_t running);
void backoff_window_failure(struct backoff_window *);
/* How many deliveries may go on at once; 0: the destination is dead. */
uint32_t backoff_window_size(const struct backoff_window *);

#endif
