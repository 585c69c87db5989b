/*
 * Restriction lists (SMTPD_ACCESS_README): compiled when the listener is set up, run one entry after the other for a
 * session, waiting where an entry asks a table. Rows: restrict_checks.def.
 */
#ifndef MTA_SMTPD_RESTRICT_H
#define MTA_SMTPD_RESTRICT_H

#include "core/base/buf.h"
#include "core/base/status.h"

struct session;
struct restrict_list;

/* Where in the dialogue lists run; the row of a command names its stage. */
enum restrict_stage {
    RESTRICT_STAGE_NONE,
    RESTRICT_STAGE_CONNECT,
    RESTRICT_STAGE_HELO,
    RESTRICT_STAGE_MAIL,
    RESTRICT_STAGE_RCPT,
    RESTRICT_STAGE_DATA,
    RESTRICT_STAGE_END_OF_DATA,
};

/* The lists, in the order in which they run at RCPT with smtpd_delay_reject. */
enum restrict_list_id {
    RESTRICT_LIST_CLIENT,
    RESTRICT_LIST_HELO,
    RESTRICT_LIST_SENDER,
    RESTRICT_LIST_RELAY,
    RESTRICT_LIST_RECIPIENT,
    RESTRICT_LIST_UNLISTED, /* built in: smtpd_reject_unlisted_recipient */
    RESTRICT_LIST_DATA,
    RESTRICT_LIST_END_OF_DATA,
    RESTRICT_LIST_COUNT,
    RESTRICT_LIST_NONE = RESTRICT_LIST_COUNT
};

enum restrict_verdict {
    RESTRICT_DUNNO,
    RESTRICT_PERMIT, /* ends this list */
    RESTRICT_REJECT, /* ends everything; session.verdict says how (4xx or 5xx) */
    RESTRICT_WAIT,   /* an op is in the scope; it ends in restrict_answer */
};

/* Where a session is in its lists; embedded in it. */
struct restrict_run {
    const enum restrict_list_id *lists; /* of this stage, ended by RESTRICT_LIST_NONE */
    size_t index;                       /* of the entry in the current list */
};

/* Compiles a list; complaints go to err; NULL when one is an error. */
struct restrict_list *restrict_compile(const char *parameter, const char *text, enum restrict_list_id, struct buf *err);
void restrict_list_free(struct restrict_list **);
/* Does the list have an entry that stops strangers from relaying? */
bool restrict_list_guards_relay(const struct restrict_list *);

/*
 * Runs the lists of a stage from their beginning. RESTRICT_PERMIT when all passed; RESTRICT_REJECT; or RESTRICT_WAIT:
 * dispatch_continue is called later with STEP_NEXT or, after a refusal, with STEP_DONE.
 */
enum restrict_verdict restrict_start(struct session *, enum restrict_stage);

/* ---- for checks in files of their own: restrict_login.c, restrict_tls.c ---- */

typedef enum restrict_verdict restrict_check_fn(struct session *);
/* "<WHO>: WHAT rejected: TEXT" with who and what of the current list. */
enum restrict_verdict restrict_refuse(struct session *, enum status_reason, int64_t code, const char *dsn,
                                      const char *text);
/* 451 of the current list; `why` (NULL: a time-out) goes to the log. */
enum restrict_verdict restrict_table_failed(struct session *, const char *why);
/* A check that answered RESTRICT_WAIT has come to a verdict. */
void restrict_answer(struct session *, enum restrict_verdict);
/* The sender of the transaction, or of the MAIL command in progress. */
const char *restrict_sender(struct session *);
restrict_check_fn check_tls_clientcerts, check_tls_all_clientcerts;
restrict_check_fn check_sender_login, check_known_sender_login, check_authenticated_sender_login,
    check_unauthenticated_sender_login;

#endif
