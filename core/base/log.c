/* The log writer: see log.h. Formats into a buffer of the stack, escapes, hands the line to the sink. */
#include "core/base/log.h"

#include "core/base/alloc.h"
#include "core/base/codec.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 4096

static const struct {
    enum log_level level;
    const char *agent;
} events[] = {
#define LOG_EVENT(id, level, agent, meaning) {LOG_LEVEL_##level, agent},
#include "core/base/log_events.def"
#undef LOG_EVENT
};

static const char *const level_prefix[] = {"", "", "warning: ", "error: ", "fatal: "};

static void sink_stderr(enum log_level level, const char *line, size_t n)
{
    (void)level;
    if (write(STDERR_FILENO, line, n) < 0)
        return; /* nowhere left to say so */
}

static char *name, *host;
static enum log_level threshold = LOG_LEVEL_INFO;
static log_sink_fn *sink = sink_stderr;

void log_setup(const char *syslog_name, const char *hostname, enum log_level least, log_sink_fn *to)
{
    mem_free(name);
    mem_free(host);
    name = mem_strdup(syslog_name);
    host = mem_strdup(hostname);
    threshold = least;
    sink = to ? to : sink_stderr;
}

/* Bytes that snprintf or vsnprintf really put into `room` bytes. */
static size_t put(int printed, size_t room)
{
    if (printed < 0)
        return 0;
    return (size_t)printed < room ? (size_t)printed : room - 1;
}

/* What many lines in a row have in common: made anew each second. */
struct moment {
    time_t second;
    int pid;
    char text[40]; /* "Nov 22 17:09:23" */
};

static const struct moment *moment_now(void)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static _Thread_local struct moment m;
    time_t now = time(NULL);
    struct tm tm;

    if (m.second != now) {
        localtime_r(&now, &tm);
        snprintf(m.text, sizeof m.text, "%.3s %2d %02d:%02d:%02d", months + tm.tm_mon * 3, tm.tm_mday, tm.tm_hour,
                 tm.tm_min, tm.tm_sec);
        m.pid = (int)getpid();
        m.second = now;
    }
    return &m;
}

static size_t head(char *line, size_t room, const struct log_ctx *ctx, enum log_event ev)
{
    const char *tag = ctx && ctx->syslog_name ? ctx->syslog_name : name ? name : "postfix";
    const char *agent = ctx && ctx->agent ? ctx->agent : events[ev].agent;
    const struct moment *m = moment_now();
    size_t n;

    n = put(snprintf(line, room, "%s %s %s/%s[%d]: ", m->text, host ? host : "localhost", tag, agent, m->pid), room);
    n += put(snprintf(line + n, room - n, "%s", level_prefix[events[ev].level]), room - n);
    if (ctx && ctx->qid)
        n += put(snprintf(line + n, room - n, "%s: ", ctx->qid), room - n);
    return n;
}

void log_event(enum log_event ev, const struct log_ctx *ctx, const char *fmt, ...)
{
    char line[LOG_LINE_MAX + 2];
    size_t n;
    va_list ap;

    if (events[ev].level < threshold || (ctx != NULL && ctx->quiet))
        return;
    n = head(line, LOG_LINE_MAX, ctx, ev);
    va_start(ap, fmt);
    n += put(vsnprintf(line + n, LOG_LINE_MAX - n, fmt, ap), LOG_LINE_MAX - n);
    va_end(ap);
    codec_printable(line, n, true);
    line[n++] = '\n';
    sink(events[ev].level, line, n);
}
