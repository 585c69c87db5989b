/*
 * What is done to the content of a message that comes in, by the listener's parameters: header_checks, body_checks, and
 * the addresses in headers. Between dispatch.c, which decodes content, and txn.c, which stores it.
 */
#ifndef MTA_SMTPD_CLEANUP_H
#define MTA_SMTPD_CLEANUP_H

#include "core/base/buf.h"
#include "core/base/status.h"
#include "core/conf/conf.h"
#include "lookup/table.h"
#include "proto/content/content_edit.h"

struct session;

/* The tables of a listener; part of its service. */
struct cleanup_tables {
    struct maps *header_checks, *mime_header_checks, *nested_header_checks, *body_checks;
};
/* False, with complaints, when one cannot be opened. */
bool cleanup_tables_open(struct cleanup_tables *, struct tables *, const struct conf *, struct buf *err);
void cleanup_tables_close(struct cleanup_tables *);

/* Part of a transaction. */
struct cleanup {
    struct content_edit_config config;
    struct content_edit *edit; /* NULL: content goes straight through */
    struct buf raw;            /* decoded and not edited yet */
    bool ending, ended;        /* all has come; the editor knows it */
    struct status verdict;     /* REJECT, a table that failed; OK: none */
    bool discard;
    const char *redirect; /* in the transaction's arena; NULL: none */
};

/* The content of the session's transaction begins: decides whether anything is to be done to it. */
void cleanup_begin(struct session *);
/* Where decoded content is to be put. */
struct buf *cleanup_input(struct session *);
/* Edits what was put there; what comes of it goes to txn_store. */
void cleanup_feed(struct session *);
/* Does it wait for a table? Nothing may be fed then; session_room is called when it goes on. */
bool cleanup_busy(const struct session *);
/* All content has come; false: it waits, and session_resume(txn_content_end) is called when it is done. */
bool cleanup_end(struct session *);
void cleanup_release(struct cleanup *);

#endif
