/* Back-off, expiry and concurrency windows: see backoff.h. Called by the scheduler alone. */
#include "core/queue/backoff.h"

static uint64_t age_us(uint64_t now_us, uint64_t arrival_us)
{
    return now_us > arrival_us ? now_us - arrival_us : 0;
}

uint64_t backoff_next_us(uint64_t now_us, uint64_t arrival_us, uint64_t minimal_ms, uint64_t maximal_ms)
{
    uint64_t delay_us = age_us(now_us, arrival_us);

    if (delay_us > maximal_ms * 1000)
        delay_us = maximal_ms * 1000;
    if (delay_us < minimal_ms * 1000)
        delay_us = minimal_ms * 1000;
    return now_us + delay_us;
}

bool backoff_expired(uint64_t now_us, uint64_t arrival_us, uint64_t lifetime_ms)
{
    return now_us >= arrival_us && now_us - arrival_us >= lifetime_ms * 1000;
}

void backoff_window_open(struct backoff_window *w, uint32_t initial, uint32_t limit)
{
    if (limit > 0 && initial > limit)
        initial = limit;
    w->initial = initial > 0 ? initial : 1;
    w->limit = limit;
    w->size = w->initial;
}

void backoff_window_success(struct backoff_window *w, uint32_t running)
{
    if (w->size < 1 || w->size >= (double)running + w->initial)
        return;
    w->size += 1 / w->size;
    if (w->limit > 0 && w->size > w->limit)
        w->size = w->limit;
}

void backoff_window_failure(struct backoff_window *w)
{
    w->size -= 1;
    if (w->size < 1)
        w->size = 0;
}

uint32_t backoff_window_size(const struct backoff_window *w)
{
    return (uint32_t)w->size;
}
