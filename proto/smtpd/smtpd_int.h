/*
 * What the files of the SMTP server share: the session, its transaction, the command in progress.
 *
 * A command goes through the same stations in the same order: gate (flags of its row), check, restrictions, act. Each
 * answers with a step; STEP_WAIT means that an op is in the session's scope and that its callback will call
 * session_resume.
 */
#ifndef MTA_SMTPD_INT_H
#define MTA_SMTPD_INT_H

#include "core/base/id.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "lookup/dns_peer.h"
#include "proto/auth/auth.h"
#include "proto/grammar/header.h"
#include "proto/grammar/smtp_body.h"
#include "proto/grammar/smtp_cmd.h"
#include "proto/grammar/smtp_param.h"
#include "proto/grammar/smtp_reply.h"
#include "proto/smtpd/cleanup.h"
#include "proto/smtpd/restrict.h"
#include "proto/smtpd/smtpd.h"
#include "tls/tls_stream.h"

enum step {
    STEP_NEXT,    /* done: go on to the next station */
    STEP_DONE,    /* the reply is written: the command is over */
    STEP_WAIT,    /* an op is in the scope */
    STEP_CONTENT, /* content follows (session.phase); what comes of it ends the command */
    STEP_CLOSE,   /* the reply is written: close the connection after it */
    STEP_SENT,    /* the command is over, and its reply has been sent */
};

struct session;

enum cmd_flag {
    CMD_NEED_TXN = 1,
    CMD_NO_ARG = 2,
    CMD_JUNK = 4,
    CMD_PRE_TLS = 8,
};

struct cmd_row {
    const char *verb;
    enum step (*check)(struct session *);
    enum restrict_stage stage;
    enum step (*act)(struct session *);
    unsigned flags;
    const char *doing;
};

enum cmd_id {
#define SMTPD_CMD(verb, check, stage, act, flags, doing) CMD_##verb,
#include "proto/smtpd/cmds.def"
#undef SMTPD_CMD
    CMD_COUNT
};

#define SMTPD_CMD(verb, check, stage, act, flags, doing) enum step act(struct session *);
#include "proto/smtpd/cmds.def"
#undef SMTPD_CMD
enum step helo_check(struct session *);
enum step starttls_check(struct session *);
enum step auth_check(struct session *);
enum step mail_check(struct session *);
enum step rcpt_check(struct session *);
enum step data_check(struct session *);
enum step bdat_check(struct session *);
enum step vrfy_check(struct session *);

/* How the input is read. */
enum session_phase {
    SESSION_PHASE_COMMAND, /* lines */
    SESSION_PHASE_DATA,    /* until CRLF.CRLF */
    SESSION_PHASE_BDAT,    /* `bdat_left` bytes */
    SESSION_PHASE_AUTH,    /* a line that answers a challenge */
};

enum bdat_state {
    BDAT_NONE,
    BDAT_OPEN,  /* chunks of this message have come */
    BDAT_ERROR, /* one was refused: the rest is thrown away until RSET or MAIL */
};

/* One mail transaction, from MAIL to the end of data or RSET. */
struct txn {
    bool open;
    struct arena arena;
    struct envelope env; /* rcpts grows by doubling; capacity in rcpt_cap */
    size_t rcpt_cap;
    char qid[ID_TEXT]; /* "" until the first recipient is accepted */
    struct queue_writer *writer;
    struct smtp_body body;
    struct header_scan scan;
    struct buf held;      /* decoded content that is not written yet: a header whose end is not known */
    uint64_t fed;         /* bytes of content given to the scan */
    uint64_t written;     /* bytes of content given to the queue, without what we add */
    bool headers_written; /* the header section is in the queue, with what was missing in it */
    bool in_line;         /* what was written of it last was a part of a line */
    bool dropping;        /* of a header that message_drop_headers names */
    uint64_t size;        /* bytes that the client sent */
    bool too_big;
    struct cleanup cleanup;
    unsigned own_received; /* 1: the header that we add is among those that were scanned */
};

struct session {
    uint32_t magic;
    struct list link;
    struct smtpd *server;
    struct smtpd_service *service; /* a reference */
    const struct conf *conf;       /* the service's */
    struct stream *stream;
    const struct smtpd_probe *probe; /* NULL: a real client */
    struct op_scope scope;
    struct timer timer;
    struct loop_task pump_task;

    struct stream_addr addr;
    const char *name;         /* verified host name of the client, or "unknown" */
    const char *reverse_name; /* what its address says, or "unknown" */
    enum dns_peer_status name_status, reverse_status;
    char *own_name, *own_reverse_name; /* from DNS; may be NULL */
    bool in_mynetworks;                /* for permit_mynetworks */
    bool local_client;                 /* local_header_rewrite_clients: headers that miss are added */

    const struct tls_info *tls; /* NULL: in clear */
    bool handshaking;           /* an op of tls/ has the stream */
    const char *unwelcome;      /* why the next command gets 421; NULL: it does not */

    char *login, *login_method;     /* of the AUTH that succeeded: "a@example.com", "PLAIN"; NULL: none did */
    struct auth_exchange *exchange; /* AUTH in progress */
    const char *mechanism;          /* its, in the command's arena */
    uint64_t reply_delay_ms;        /* how long the reply of this command waits at the least */
    bool delayed;                   /* the reply waits for that */

    char *helo; /* NULL: none yet */
    bool esmtp;
    enum session_phase phase;
    struct txn txn;

    /* the command in progress */
    const struct cmd_row *cmd; /* NULL: none */
    int station;
    bool waiting;
    struct buf line;
    bool line_cr; /* what has come of it so far ends in CR */
    bool bare_lf; /* the line ended without CR */
    struct slice args;
    struct arena cmd_arena;
    const char *rcpt; /* RCPT and VRFY: the address, internal form */
    struct smtp_rcpt_params rcpt_params;
    const char *mail; /* MAIL: the sender */
    struct smtp_mail_params mail_params;
    struct restrict_run restrict_run;
    struct status verdict; /* what the restrictions or an op said */

    uint64_t bdat_size, bdat_left; /* of the chunk */
    bool bdat_last;
    enum bdat_state bdat_state;

    struct buf reply;
    bool closing;      /* no more commands: close when the reply is out */
    bool shutdown;     /* the server stops: 421 when the command in progress is over */
    bool ended;        /* the client sends no more */
    bool broken;       /* the connection failed */
    const char *doing; /* the last command, for log lines */
    unsigned errors, junk, overshoot;
    bool erred; /* the command in progress did */
    struct {
        unsigned ok, all;
    } count[CMD_COUNT], unknown;
};

struct smtpd {
    struct loop *loop;
    struct queue *queue;
    struct dns *dns; /* NULL: clients have no names */
    struct list sessions;
    size_t nsessions;
    struct map per_client;    /* address -> struct client_count */
    struct auth_guard *guard; /* NULL: nothing is counted */
    bool draining;
    struct timer grace;
    void (*drained)(void *arg);
    void *drained_arg;
};

struct smtpd_service {
    unsigned refs;
    struct smtpd *server;
    struct rules *rules;
    const struct conf *conf;
    const char *listener; /* its name; lives with conf */
    struct matchlist *mynetworks, *exceptions, *bare_newline_exclusions;
    struct cleanup_tables cleanup;
    struct restrict_list *lists[RESTRICT_LIST_COUNT];
    struct auth *auth; /* NULL: there is no AUTH */
    struct matchlist *auth_hidden, *ban_exceptions;
    struct maps *login_maps;  /* smtpd_sender_login_maps */
    struct tls_server *tls;   /* NULL: there is no TLS, or no certificate for it */
    struct maps *sni_maps;    /* tls_server_sni_maps */
    struct maps *clientcerts; /* relay_clientcerts */
    unsigned ehlo;            /* offered extensions: 1 << enum ehlo_keyword */
};

enum ehlo_keyword {
    EHLO_PIPELINING,
    EHLO_SIZE,
    EHLO_VRFY,
    EHLO_STARTTLS,
    EHLO_AUTH,
    EHLO_ENHANCEDSTATUSCODES,
    EHLO_8BITMIME,
    EHLO_DSN,
    EHLO_SMTPUTF8,
    EHLO_CHUNKING,
    EHLO_COUNT
};
/* The bit set that smtpd_discard_ehlo_keywords leaves; complaints about unknown words go to err. */
unsigned ehlo_offered(const struct conf *, struct buf *err);
static inline bool session_offers(const struct session *s, enum ehlo_keyword k)
{
    return (s->service->ehlo >> k) & 1;
}

/* ---- session.c ---- */

/* Continues the command in progress after an op: the callback of whatever it waited for calls it last. */
void session_resume(struct session *, enum step);
/* The reply of the command in progress. Codes of 400 and above count as errors. */
void session_reply(struct session *, int code, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void session_reply_status(struct session *, const struct status *);
/* "421 4.x.x HOST Error: TEXT" and STEP_CLOSE, for use as `return session_421(...)`. */
enum step session_421(struct session *, const char *dsn, const char *text);
/* Is it a client that headers are added for (local_header_rewrite_clients)? Authentication may change it. */
bool session_is_local(const struct session *);
/* The greeting, or why there is none. */
void session_welcome(struct session *);
/* As if the client had said nothing yet: RFC 3207 section 4.2. */
void session_forget(struct session *);
/* The line has been worked on: there may have been a password in it. */
void session_drop_line(struct session *);
/* "name[addr]" in the command's arena. */
const char *session_peer(struct session *);
/* Log context of the session: its syslog_name, and the queue id once there is one ("NOQUEUE" when `noqueue`). */
struct log_ctx session_log(const struct session *, bool noqueue);
/* Logs "reject: WHAT from client: REPLY; from=<> to=<> proto= helo=<>". */
void session_log_reject(struct session *, const char *what, const struct status *);
/* The disk has caught up: reads on. */
void session_room(struct session *);
/* The command in progress waits for an op, which has its own time-out: the client's time does not run. */
void session_waits(struct session *);
/* Sends what is in session.reply; the client's time begins again. */
void session_flush(struct session *);
/* The command in progress is over and its reply is complete: sends it (later, for a client with many errors). */
void session_command_over(struct session *, enum step);
/* May the next command begin: nothing is waited for, and the client reads its replies? */
bool session_may_work(const struct session *);
/* The client is gone: logs where it was, closes. */
void session_lost(struct session *);
/* Closes now; nothing more is sent. */
void session_close(struct session *);
/* The server stops: says so when the command in progress is over; nobody waits for a handshake or a delayed reply. */
void session_shut_down(struct session *);

/* ---- dispatch.c ---- */

/* Works on what has come: command lines, content. Called when there is input or the last command is over. */
void dispatch_pump(struct session *);
/* The same from the loop, once the current callbacks have returned. */
void dispatch_later(struct session *);
/* Continues the command in progress at its next station; `step` is what the last one came to. */
void dispatch_continue(struct session *, enum step);

/* ---- starttls.c ---- */

/* Is the session encrypted? A probe counts as if it were where TLS is mandatory. */
bool session_tls_active(const struct session *);
/* Is there TLS to be had that the session does not have yet? */
bool session_may_starttls(const struct session *);
/* Must the client begin with STARTTLS (smtpd_tls_security_level = encrypt), and has not yet? */
bool session_needs_tls(const struct session *);
/* May AUTH be offered and taken now: is there TLS, or may there be none (smtpd_tls_auth_only, encrypt)? */
bool session_may_auth(const struct session *);
/*
 * Begins the handshake of smtpd_tls_wrappermode; false: this listener has none. session_welcome follows it; after a
 * failed one the session is over.
 */
bool session_wrap(struct session *);
/*
 * Version, cipher and client certificate as comments for Received:, in the command's arena; NULL where there is no TLS,
 * or smtpd_tls_received_header does not ask for it.
 */
const char *session_tls_received(struct session *);

/* ---- auth.c ---- */

/* The mechanisms for EHLO, "PLAIN LOGIN"; "": AUTH is not to be shown. Valid until the next turn of the loop. */
const char *session_auth_offer(const struct session *);
/* s->line is the client's response to a challenge. */
enum step auth_response(struct session *);
/* As if there had been no AUTH: at the end, and when the session begins anew after STARTTLS. */
void session_auth_forget(struct session *);
/* Has the client's address failed too often, or (not NULL) this login? */
bool session_auth_banned(const struct session *, const char *login);
/* The 421 for it. */
enum step session_auth_refuse(struct session *);

/* ---- mail.c ---- */

/* The extensions (enum smtp_ext) that this session was offered: the parameters of the others are unknown. */
unsigned session_extensions(const struct session *);
/* Adds "@$myorigin" to an address without domain; the result lives in the command's arena. */
const char *session_qualify(struct session *, const char *addr);

/* ---- data.c ---- */

/* A BDAT command that cannot be read: where the next command begins is not known, so the session ends. */
enum step bdat_unclear(struct session *);
/* The chunk of a BDAT command has come. */
enum step bdat_end(struct session *);

/* ---- txn.c ---- */

void txn_begin(struct session *);
/* Forgets the transaction, if any, and what waits for it. */
void txn_reset(struct session *);
void txn_add_rcpt(struct session *);
/* Starts the content: trace header. */
void txn_content_begin(struct session *);
/* Takes decoded content from cleanup_input. */
void txn_content(struct session *);
/* Takes edited content from txn.held. */
void txn_store(struct session *);
/* Is the disk behind? Then session_room is called when it has caught up. */
bool txn_must_wait(struct session *);
/* Does smtpd_forbid_bare_newline refuse bare newlines of this client? */
bool txn_refuses_bare_lf(const struct session *);
/* The content is complete: is it acceptable? */
enum step txn_content_end(struct session *);
/* Expands aliases, commits, replies. */
enum step txn_commit(struct session *);

#endif
