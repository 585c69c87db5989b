/*
 * Trace and identification headers that we add: Received: (RFC 5321 section 4.4), Date: and Message-Id: (RFC 5322
 * section 3.6). What a client said is made harmless here: it cannot close a comment or begin another header. Only the
 * time zone comes from outside.
 */
#ifndef MTA_GRAMMAR_RECEIVED_H
#define MTA_GRAMMAR_RECEIVED_H

#include "core/base/buf.h"

struct received {
    const char *helo;        /* what HELO/EHLO said; NULL: nothing, the client's name takes its place */
    const char *client_name; /* verified host name; NULL: "unknown" */
    const char *client_addr; /* "127.0.0.1" or "::1" (printed as IPv6:::1); NULL: made here, and only the last four
                                fields count */
    const char *protocol;    /* "SMTP", "ESMTP", "UTF8SMTP", ...: RFC 3848, RFC 6531 */
    const char *tls;         /* comments about TLS, in lines; NULL: not to be said */
    const char *login;       /* who had authenticated; NULL: not to be said */
    const char *rcpt;        /* internal form, when there is exactly one recipient; else NULL */
    const char *myhostname, *mail_name, *qid;
    uint64_t time_us; /* wall clock */
};

/* Appends the header, in two or more lines, with its final '\n'. */
void received_write(struct buf *, const struct received *);
/* Appends "Sun, 22 Nov 2026 17:09:23 +0000 (UTC)" in local time. */
void received_date(struct buf *, uint64_t unix_us);
/* Appends "<20261122170923.QID@myhostname>" (UTC). */
void received_message_id(struct buf *, uint64_t unix_us, const char *qid, const char *myhostname);
/*
 * Appends `text` (NULL or empty: "unknown"), cut to 255 bytes, with '?' for every byte that is not printable ASCII and
 * for each of " <>()\";@" and the backslash: fit for a comment, a header or a log line.
 */
void received_sanitize(struct buf *, const char *text);

#endif
