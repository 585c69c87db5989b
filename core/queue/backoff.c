/* Back-off, expiry and concurrency windows: see backoff.h. Called by the scheduler alone. */
#include "core/queue/backoff.h"

#include "core/base/assert.h"
#include "core/base/slice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDING 1e-6 /* so that ten tenths are one */

#define JUMP_US 60000000 /* less is a clock that is set right, or a loop that was busy */

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

/* Jumps that have not happened yet, by the clock that was set back, are undone. */
static void set_back(struct backoff_clock *c, uint64_t wall_us)
{
    while (c->njumps > 0 && c->jumps[c->njumps - 1].before_us + c->jumps[c->njumps - 1].by_us > wall_us)
        c->njumps--;
}

static void set_ahead(struct backoff_clock *c, uint64_t wall_us, uint64_t by_us)
{
    if (c->njumps == BACKOFF_JUMPS)
        memmove(c->jumps, c->jumps + 1, --c->njumps * sizeof *c->jumps);
    c->jumps[c->njumps].before_us = wall_us - by_us;
    c->jumps[c->njumps++].by_us = by_us;
}

int64_t backoff_clock_look(struct backoff_clock *c, uint64_t wall_us, uint64_t monotonic_ms)
{
    int64_t offset_us = (int64_t)(wall_us - monotonic_ms * 1000), by_us = c->looked ? offset_us - c->offset_us : 0;

    c->looked = true;
    c->offset_us = offset_us;
    if (by_us > JUMP_US)
        set_ahead(c, wall_us, (uint64_t)by_us);
    else if (by_us < -JUMP_US)
        set_back(c, wall_us);
    else
        by_us = 0;
    return by_us;
}

uint64_t backoff_clock_arrival_us(const struct backoff_clock *c, uint64_t arrival_us)
{
    for (unsigned i = 0; i < c->njumps; i++)
        if (arrival_us < c->jumps[i].before_us)
            arrival_us += c->jumps[i].by_us;
    return arrival_us;
}

bool backoff_feedback_parse(const char *text, struct backoff_feedback *f)
{
    static const struct {
        const char *word;
        enum backoff_per per;
    } words[] = {{"concurrency", BACKOFF_PER_CONCURRENCY}, {"sqrt_concurrency", BACKOFF_PER_SQRT_CONCURRENCY}};
    struct slice all = slice_str(text), per;
    size_t slash = slice_find(all, '/');
    char number[32], *end;
    struct slice amount = slice_trim(slice_head(all, slash));

    if (amount.n == 0 || amount.n >= sizeof number)
        return false;
    memcpy(number, amount.p, amount.n);
    number[amount.n] = '\0';
    f->amount = strtod(number, &end);
    f->per = BACKOFF_PER_RESULT;
    if (*end != '\0' || !(f->amount >= 0 && f->amount <= 1))
        return false;
    if (slash == SLICE_NOT_FOUND)
        return true;
    per = slice_trim(slice_from(all, slash + 1));
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (slice_eq(per, slice_str(words[i].word))) {
            f->per = words[i].per;
            return true;
        }
    return false;
}

static double change(const struct backoff_feedback *f, double size)
{
    switch (f->per) {
    case BACKOFF_PER_RESULT: return f->amount;
    case BACKOFF_PER_CONCURRENCY: return f->amount / size;
    case BACKOFF_PER_SQRT_CONCURRENCY: return f->amount / sqrt(size);
    }
    return 0;
}

static void bound(struct backoff_window *w)
{
    if (w->limit > 0 && w->size > w->limit)
        w->size = w->limit;
    if (w->size < 1)
        w->size = 1;
}

void backoff_window_open(struct backoff_window *w)
{
    w->failed = 0;
    w->size = w->initial;
    bound(w);
}

void backoff_window_success(struct backoff_window *w, uint32_t running)
{
    w->failed = 0;
    if (w->size == 0 || w->size >= (double)running + w->initial)
        return;
    w->size += change(&w->positive, w->size);
    bound(w);
}

void backoff_window_failure(struct backoff_window *w)
{
    if (w->size == 0)
        return;
    w->failed += 1 / w->size;
    if (w->cohort_limit > 0 && w->failed >= w->cohort_limit - ROUNDING) {
        w->size = 0;
        return;
    }
    w->size -= change(&w->negative, w->size);
    bound(w);
}

uint32_t backoff_window_size(const struct backoff_window *w)
{
    return (uint32_t)(w->size + ROUNDING);
}
