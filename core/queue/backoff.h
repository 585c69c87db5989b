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
 * The wall clock beside the monotonic one: when it jumps ahead, mail that came before has not grown older. Zeroed at
 * first. Jumps that are forgotten (the oldest of many, all at a restart) count as time again.
 */
#define BACKOFF_JUMPS 8
struct backoff_clock {
    bool looked;
    int64_t offset_us; /* wall less monotonic, at the last look */
    struct {
        uint64_t before_us, by_us; /* what came before this time of the wall clock did so before it jumped */
    } jumps[BACKOFF_JUMPS];
    unsigned njumps;
};

/* To be called now and then with both clocks. By how much the wall clock jumped since: 0 for less than a minute. */
int64_t backoff_clock_look(struct backoff_clock *, uint64_t wall_us, uint64_t monotonic_ms);
/* When mail that came at arrival_us would have come by the wall clock as it goes now. */
uint64_t backoff_clock_arrival_us(const struct backoff_clock *, uint64_t arrival_us);

/* By how much one result changes a window of a given size: SCHEDULER_README's "1", "0.5", "1/concurrency". */
enum backoff_per {
    BACKOFF_PER_RESULT,
    BACKOFF_PER_CONCURRENCY,
    BACKOFF_PER_SQRT_CONCURRENCY,
};
struct backoff_feedback {
    double amount; /* 0 to 1 */
    enum backoff_per per;
};
/* "number", "number / concurrency", "number / sqrt_concurrency"; false: none of them. */
bool backoff_feedback_parse(const char *text, struct backoff_feedback *);

/*
 * The concurrency window of a destination: it opens with each success, only while it is in use, and closes with each
 * failure of the destination. It is shut (the destination is dead) when as many deliveries have failed in a row as
 * cohort_limit windows hold; never with 0. The limits may be changed at any time.
 */
struct backoff_window {
    double size, failed;     /* failed: windows full of failures since the last success */
    uint32_t initial, limit; /* limit 0: none */
    uint32_t cohort_limit;
    struct backoff_feedback positive, negative;
};

/* Opens it to its initial size, within its limit. */
void backoff_window_open(struct backoff_window *);
/* `running`: deliveries to the destination that were going on, the successful one included. */
void backoff_window_success(struct backoff_window *, uint32_t running);
void backoff_window_failure(struct backoff_window *);
/* How many deliveries may go on at once; 0: the destination is dead. */
uint32_t backoff_window_size(const struct backoff_window *);

#endif
