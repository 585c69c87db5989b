/*
 * The one error value. Bad input or a failed environment is a `struct status` by value: a class, the SMTP code, the
 * enhanced status code (RFC 3463) and the text for the client or the report. Unknown is TEMPFAIL.
 */
#ifndef MTA_BASE_STATUS_H
#define MTA_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

enum status_class {
    STATUS_OK,
    STATUS_TEMPFAIL,
    STATUS_PERMFAIL,
};

/* Why: a row of reasons.def. Tests compare reasons, not texts. */
enum status_reason {
#define REASON(id, cls, code, dsn, text) STATUS_##id,
#include "core/base/reasons.def"
#undef REASON
    STATUS_REASON_COUNT
};

struct status {
    enum status_class cls;
    enum status_reason reason;
    int code;       /* SMTP reply code, e.g. 450 */
    char dsn[12];   /* enhanced status code, e.g. "4.3.0" */
    char text[400]; /* one line, escaped by whoever prints it */
};

/* Success. */
struct status status_ok(void);
/* The row's class and codes with the row's own text. */
struct status status_of(enum status_reason);
/* The row's class and codes with another text. */
struct status status_make(enum status_reason, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* All said by the caller; the class follows from the code's first digit. */
struct status status_reply(enum status_reason, int code, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
bool status_is_ok(const struct status *);
/* "TABLE_TEMPFAIL" and so on, for tests and JSON. */
const char *status_reason_name(enum status_reason);

#endif
