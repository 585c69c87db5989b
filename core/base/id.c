/* Queue ids: see id.h. */
#include "core/base/id.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static uint64_t last;

#define AHEAD_US 60000000u

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t id_next(void)
{
    uint64_t us = now_us();

    last = us > last ? us : last + 1;
    return last;
}

uint64_t id_last(void)
{
    return last;
}

uint64_t id_ahead(void)
{
    uint64_t us = now_us();

    return (us > last ? us : last) + AHEAD_US;
}

void id_seen(uint64_t seen)
{
    if (seen > last)
        last = seen;
}

const char *id_format(char out[ID_TEXT], uint64_t id)
{
    snprintf(out, ID_TEXT, "%010" PRIX64, id);
    return out;
}

bool id_parse(struct slice text, uint64_t *id)
{
    uint64_t v = 0;

    if (text.n < 10 || text.n >= ID_TEXT)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        if (ascii_digit(c))
            v = v * 16 + (uint64_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            v = v * 16 + (uint64_t)(c - 'A' + 10);
        else
            return false;
    }
    *id = v;
    return true;
}
