/* The error value and its table of reasons: see status.h. */
#include "core/base/status.h"

#include "core/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum status_class cls;
    int code;
    const char *dsn, *text;
} rows[] = {
#define REASON(id, cls, code, dsn, text) {#id, STATUS_##cls, code, dsn, text},
#include "core/base/reasons.def"
#undef REASON
};

struct status status_of(enum status_reason reason)
{
    struct status s = {.cls = rows[reason].cls, .reason = reason, .code = rows[reason].code};

    snprintf(s.dsn, sizeof s.dsn, "%s", rows[reason].dsn);
    snprintf(s.text, sizeof s.text, "%s", rows[reason].text);
    return s;
}

struct status status_ok(void)
{
    return status_of(STATUS_NONE);
}

struct status status_make(enum status_reason reason, const char *fmt, ...)
{
    struct status s = status_of(reason);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s.text, sizeof s.text, fmt, ap);
    va_end(ap);
    return s;
}

struct status status_reply(enum status_reason reason, int code, const char *dsn, const char *fmt, ...)
{
    struct status s = {.reason = reason, .code = code};
    va_list ap;

    s.cls = code < 400 ? STATUS_OK : code < 500 ? STATUS_TEMPFAIL : STATUS_PERMFAIL;
    snprintf(s.dsn, sizeof s.dsn, "%s", dsn);
    va_start(ap, fmt);
    vsnprintf(s.text, sizeof s.text, fmt, ap);
    va_end(ap);
    return s;
}

bool status_is_ok(const struct status *s)
{
    return s->cls == STATUS_OK;
}

const char *status_reason_name(enum status_reason reason)
{
    MTA_ASSERT((size_t)reason < ARRAY_LEN(rows));
    return rows[reason].name;
}
