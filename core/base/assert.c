/*
 * The one place that stops the process on a broken invariant. It writes straight to standard error: the log may be
 * what is broken.
 */
#include "core/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void assert_fail(const char *cond, const char *file, int line)
{
    fprintf(stderr, "mta: assertion failed: %s (%s:%d)\n", cond, file, line);
    abort();
}

void *assert_object(void *obj, size_t magic_offset, uint32_t magic)
{
    uint32_t found = 0;

    MTA_ASSERT(obj != NULL);
    memcpy(&found, (const char *)obj + magic_offset, sizeof found);
    MTA_ASSERT(found == magic);
    return obj;
}
