/*
 * Text of a delivery report: multipart/report (RFC 6522) with a part for people, a message/delivery-status part (RFC
 * 3464) and the original message or its headers. For SMTPUTF8 messages the parts of RFC 6533. Lines end in '\n', none
 * is longer than 998 bytes, and no address or diagnostic text can begin another header or part. Pure.
 */
#ifndef MTA_GRAMMAR_DSN_H
#define MTA_GRAMMAR_DSN_H

#include "core/base/buf.h"

/* What a report is for: its subject and what it says to people. */
enum dsn_kind {
    DSN_KIND_FAILURE,
    DSN_KIND_DELAY,
    DSN_KIND_SUCCESS,
    DSN_KIND_FAILURE_COPY, /* for the postmaster */
    DSN_KIND_DELAY_COPY,
};

/* RFC 3464 section 2.3.3. */
enum dsn_action {
    DSN_ACTION_FAILED,
    DSN_ACTION_DELAYED,
    DSN_ACTION_DELIVERED,
    DSN_ACTION_RELAYED,
    DSN_ACTION_EXPANDED,
};

struct dsn_recipient {
    const char *addr;  /* final address, internal form */
    const char *orig;  /* as the client gave it, internal form, when aliases changed it; else NULL */
    const char *orcpt; /* decoded "type;address" of RFC 3461; NULL: not given */
    enum dsn_action action;
    const char *status;       /* "5.1.1" */
    const char *text;         /* why, one line of any bytes */
    const char *remote_mta;   /* host that said so; NULL: said by us */
    const char *remote_reply; /* what exactly it said; with remote_mta */
};

struct dsn_report {
    enum dsn_kind kind;
    const char *myhostname, *mail_name;
    const char *origin;     /* domain of the report's author, MAILER-DAEMON */
    const char *message_id; /* of the report itself, with <> */
    const char *boundary;   /* see dsn_boundary */
    uint64_t now_us;        /* Date: of the report, wall clock */
    const char *qid;        /* of the original message */
    const char *sender;  /* of the original message: the report's recipient; "" when the report goes to a postmaster */
    const char *to;      /* To:, internal form; NULL: sender */
    const char *envid;   /* decoded; NULL: not given */
    uint64_t arrival_us; /* of the original message */
    uint64_t retry_until_us; /* how long delayed recipients are tried */
    const struct dsn_recipient *rcpts;
    size_t nrcpts;
    bool headers_only; /* the caller appends the original's header section only */
    bool body_8bit;    /* the original may have 8-bit bytes */
    bool smtputf8;     /* the original was sent with SMTPUTF8; so must the report be */
};

/*
 * Appends a MIME boundary (at most 70 characters) made of the report's own queue id and time, which nobody who wrote
 * the original message could know.
 */
void dsn_boundary(struct buf *, const char *qid, uint64_t now_us, const char *myhostname);
/*
 * Appends everything up to where the original message (or its header section) begins: the report's header, without a
 * Received: (the caller puts one before it), and its first two parts.
 */
void dsn_write_head(struct buf *, const struct dsn_report *);
/* Appends what follows the original message, whose last line must have ended in '\n'. */
void dsn_write_tail(struct buf *, const struct dsn_report *);

#endif
