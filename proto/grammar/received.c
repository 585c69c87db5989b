/*
 * Trace and identification headers: see received.h. Called by the SMTP server when a message begins, and by whoever
 * makes messages here (reports). Owns nothing. RFC 5321 section 4.4, RFC 5322 section 3.3 and 3.6.4, RFC 3848.
 */
#include "proto/grammar/received.h"

#include "core/base/addr.h"

#include <time.h>

#define NAME_MAX_BYTES 255 /* of what the client called itself: RFC 5321 section 4.5.3.1.2 */
#define RCPT_MAX_BYTES 900 /* leaves room for the rest of the line within the 998 of RFC 5322 section 2.1.1 */

/* Not the locale's names: RFC 5322 has its own. */
static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void received_sanitize(struct buf *out, const char *text)
{
    size_t n = 0;

    if (text == NULL || *text == '\0')
        text = "unknown";
    for (; text[n] != '\0' && n < NAME_MAX_BYTES; n++) {
        bool ok = text[n] > 32 && text[n] < 127 && strchr("<>()\\\";@", text[n]) == NULL;

        buf_add_char(out, ok ? text[n] : '?');
    }
}

/* " (UTC)": the zone's name is a comment and comes from outside, from TZ. */
static void add_zone_name(struct buf *out, const char *zone)
{
    if (zone == NULL || *zone == '\0')
        return;
    for (const char *c = zone; *c != '\0'; c++)
        if (!ascii_alnum(*c) && *c != '+' && *c != '-')
            return;
    buf_printf(out, " (%s)", zone);
}

void received_date(struct buf *out, uint64_t unix_us)
{
    time_t seconds = (time_t)(unix_us / 1000000);
    struct tm tm = {.tm_mday = 1};
    long minutes;

    localtime_r(&seconds, &tm);
    minutes = (tm.tm_gmtoff < 0 ? -tm.tm_gmtoff : tm.tm_gmtoff) / 60;
    buf_printf(out, "%s, %2d %s %d %02d:%02d:%02d %c%02ld%02ld", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
               tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_gmtoff < 0 ? '-' : '+', minutes / 60,
               minutes % 60);
    add_zone_name(out, tm.tm_zone);
}

void received_message_id(struct buf *out, uint64_t unix_us, const char *qid, const char *myhostname)
{
    time_t seconds = (time_t)(unix_us / 1000000);
    struct tm tm = {.tm_mday = 1};

    gmtime_r(&seconds, &tm);
    buf_printf(out, "<%04d%02d%02d%02d%02d%02d.%s@%s>", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
               tm.tm_min, tm.tm_sec, qid, myhostname);
}

static void add_client(struct buf *out, const struct received *r)
{
    buf_add_str(out, "from ");
    received_sanitize(out, r->helo && *r->helo ? r->helo : r->client_name);
    buf_add_str(out, " (");
    received_sanitize(out, r->client_name);
    buf_add_str(out, strchr(r->client_addr, ':') ? " [IPv6:" : " [");
    received_sanitize(out, r->client_addr);
    buf_add_str(out, "])\n\t");
}

/* In a comment, which nothing in it ends. */
static void add_login(struct buf *out, const char *login)
{
    buf_add_str(out, "(Authenticated sender: ");
    for (size_t n = 0; login[n] != '\0' && n < NAME_MAX_BYTES; n++)
        buf_add_char(out, login[n] < 32 || login[n] > 126 || strchr("()\\", login[n]) != NULL ? '?' : login[n]);
    buf_add_str(out, ")\n\t");
}

/* "\n\tfor <rcpt>", unless the line would be too long for it. */
static void add_for(struct buf *out, const char *rcpt)
{
    struct buf text = {.max = 0};
    struct slice clean;

    addr_quote(&text, slice_str(rcpt));
    clean = buf_slice(&text);
    if (clean.n > 0 && clean.n <= RCPT_MAX_BYTES) {
        buf_add_str(out, "\n\tfor <");
        for (size_t i = 0; i < clean.n; i++)
            buf_add_char(out, (unsigned char)clean.p[i] < 32 || clean.p[i] == 127 ? '?' : clean.p[i]);
        buf_add_str(out, ">");
    }
    buf_release(&text);
}

void received_write(struct buf *out, const struct received *r)
{
    size_t before;

    buf_add_str(out, "Received: ");
    if (r->client_addr == NULL) {
        buf_printf(out, "by %s (%s)\n\tid %s; ", r->myhostname, r->mail_name, r->qid);
    } else {
        add_client(out, r);
        if (r->tls != NULL)
            buf_printf(out, "%s\n\t", r->tls);
        if (r->login != NULL)
            add_login(out, r->login);
        buf_printf(out, "by %s (%s) with %s id %s", r->myhostname, r->mail_name, r->protocol, r->qid);
        before = buf_len(out);
        if (r->rcpt != NULL)
            add_for(out, r->rcpt);
        buf_add_str(out, buf_len(out) > before ? "; " : ";\n\t");
    }
    received_date(out, r->time_us);
    buf_add_char(out, '\n');
}
