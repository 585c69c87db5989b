/*
 * The one place that writes log lines. A line looks as rsyslog shows Postfix's, so that what reads those reads ours:
 *   Nov 22 17:09:23 host postfix/smtpd[123]: 65D3F0A1B2C3D: client=localhost[127.0.0.1]
 * Untrusted text needs no escaping by the caller: the whole line is made printable here.
 */
#ifndef MTA_BASE_LOG_H
#define MTA_BASE_LOG_H

#include "core/base/slice.h"

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_FATAL,
};

/* A row of log_events.def each. */
enum log_event {
#define LOG_EVENT(id, level, agent, meaning) LOG_##id,
#include "core/base/log_events.def"
#undef LOG_EVENT
    LOG_EVENT_COUNT
};

/* What a line inherits; any field may be NULL. */
struct log_ctx {
    const char *syslog_name; /* NULL: the process-wide one */
    const char *agent;       /* NULL: the event's own */
    const char *qid;         /* printed queue id, "NOQUEUE", or NULL */
    bool quiet;              /* not a word: a session that only shows what would happen */
};

/*
 * Logs one event; thread-safe. `ctx` may be NULL. The text follows "agent[pid]: " and, with a qid, "QID: "; warnings
 * and worse get "warning: ", "error: ", "fatal: " before the text as Postfix has them.
 */
void log_event(enum log_event, const struct log_ctx *ctx, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Where finished lines go: `line` ends in '\n', `level` is the event's. May be called from any thread. */
typedef void log_sink_fn(enum log_level level, const char *line, size_t n);

/* Process-wide settings; the strings are copied. The sink's default writes to standard error. */
void log_setup(const char *syslog_name, const char *hostname, enum log_level least, log_sink_fn *sink);

#endif
