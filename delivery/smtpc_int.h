/*
 * The SMTP and LMTP client's own: a connection, which may serve several messages one after the other, and a job, which
 * is one delivery and may need several connections. Private to smtpc*.c.
 *
 * smtpc.c begins and ends a job, smtpc_hosts.c finds it a connection, smtpc_hello.c opens the session, smtpc_tls.c
 * makes it a safe one, smtpc_auth.c (and smtpc_token.c) says who we are, smtpc_txn.c has the transaction and
 * smtpc_commands.c what it says, smtpc_body.c the content, smtpc_edit.c what is changed of both on the way out,
 * smtpc_rcpts.c what became of whom. smtpc_conn.c is below them all.
 */
#ifndef MTA_DELIVERY_SMTPC_INT_H
#define MTA_DELIVERY_SMTPC_INT_H

#include "core/loop/dial.h"
#include "core/loop/spawn.h"
#include "delivery/conn_cache.h"
#include "delivery/content.h"
#include "delivery/smtpc_nexthop.h"
#include "delivery/transport_int.h"
#include "proto/auth/auth_client.h"
#include "proto/content/content_edit.h"
#include "proto/grammar/mime_encode.h"
#include "proto/grammar/smtp_answer.h"
#include "proto/grammar/smtp_content.h"
#include "tls/tls_client.h"

struct smtpc_job;

enum smtpc_step {
#define SMTPC_STEP(id, timeout, command, doing, handler) SMTPC_##id,
#include "delivery/smtpc_steps.def"
#undef SMTPC_STEP
};

/* What the server said it can do. */
enum smtpc_feature {
    SMTPC_PIPELINING = 1,
    SMTPC_SIZE = 2,
    SMTPC_8BITMIME = 4,
    SMTPC_DSN = 8,
    SMTPC_SMTPUTF8 = 16,
    SMTPC_CHUNKING = 32,
    SMTPC_STARTTLS = 64,
    SMTPC_AUTH = 128,
};

/* ---- smtpc_conn.c ---- */

struct smtpc_conn {
    struct conn_idle idle;
    struct loop *loop;
    struct stream *stream; /* NULL: closed, and gone when the loop comes round */
    struct smtpc_job *job; /* who is served; NULL while it is idle */
    char *host, *address;  /* "mx.example.com" and "192.0.2.1"; of a UNIX socket our name and the path */
    char *peer, *relay;    /* "mx.example.com[192.0.2.1]", the same with ":25", for the log */
    int port;
    unsigned features;                 /* enum smtpc_feature */
    uint64_t size_limit;               /* SMTPC_SIZE: the largest message; 0: not told */
    const struct tls_info *tls;        /* NULL: in clear */
    char *mechanisms;                  /* SMTPC_AUTH: "PLAIN LOGIN" */
    struct auth_client_exchange *auth; /* while it lasts */
    uint64_t opened_ms;
    unsigned uses;    /* messages, that of the job included */
    unsigned unasked; /* replies to RSET that are still to come */
    enum smtpc_step step;
    struct timer timer;
    struct smtp_answer answer;
};

/* Takes the stream. The connection belongs to the job until it is kept, or quit. */
struct smtpc_conn *smtpc_conn_new(struct smtpc_job *, struct stream *, const char *host, const char *address, int port);
/* What is awaited now, and the time for it. */
void smtpc_conn_step(struct smtpc_conn *, enum smtpc_step);
void smtpc_conn_step_for(struct smtpc_conn *, enum smtpc_step, uint64_t timeout_ms);
void smtpc_conn_send(struct smtpc_conn *, struct slice);
/* Takes an idle connection into use. */
void smtpc_conn_use(struct smtpc_conn *, struct smtpc_job *);
/* Keeps it for others under these names (see conn_cache_put). No transaction is open, or `reset` says RSET. */
void smtpc_conn_keep(struct smtpc_conn **, struct conn_cache *, const char *first, const char *second, bool reset,
                     uint64_t idle_ms);
/* Ends the session in order. Nulls the pointer, as the others. */
void smtpc_conn_quit(struct smtpc_conn **);
/* Ends it at once: the server is lost, or out of step. NULL is fine. */
void smtpc_conn_close(struct smtpc_conn **);

/* ---- a transport ---- */

/* What it has beside its parameters: transport->own. */
struct smtpc_own {
    struct maps *generic;
    struct maps *header_checks, *mime_header_checks, *nested_header_checks, *body_checks;
    struct maps *discard_keywords; /* smtp_discard_ehlo_keyword_address_maps */
    struct tls_client *tls;        /* NULL: there is never TLS */
    enum tls_level level;          /* of destinations that have no policy */
    struct maps *policies;
    struct maps *passwords;  /* NULL: there is never AUTH */
    const char **token_argv; /* NULL: there is no command */
    size_t token_argc;
    struct list tokens; /* the oldest first */
    size_t ntokens;
};

/* ---- a job ---- */

enum smtpc_rcpt_state {
    SMTPC_RCPT_TODO,
    SMTPC_RCPT_SENT,      /* RCPT is on its way */
    SMTPC_RCPT_ACCEPTED,  /* and the message is to follow */
    SMTPC_RCPT_AGAIN,     /* too many at a time: another transaction */
    SMTPC_RCPT_ELSEWHERE, /* deferred by this server: another one */
    SMTPC_RCPT_DONE,      /* told */
};

struct smtpc_rcpt {
    enum smtpc_rcpt_state state;
    const char *address; /* what RCPT says */
    struct outcome *why; /* what the last server said that did not take it; NULL: none so far */
};

/* The message's content on its way; see smtpc_body.c. */
struct smtpc_body {
    struct content content;
    struct content_edit_config checks;
    struct content_edit *edit; /* NULL: not changed */
    struct mime_encode *mime;  /* NULL: not converted */
    struct smtp_content wire;
    struct buf out;           /* encoded, not sent */
    bool begun;               /* reading has begun */
    bool reading;             /* a piece is awaited, or edited */
    bool all_read;            /* the piece is the last one */
    bool edit_ended;          /* and the editor knows it */
    bool last;                /* all of it is in `out` or behind */
    bool go;                  /* the server waits for it */
    bool looking;             /* the header is looked at before anything is sent */
    bool bdat;                /* in chunks, RFC 3030 */
    bool end_sent;            /* the server may have all of it */
    unsigned chunks, answers; /* BDAT commands, and replies to them */
    uint64_t until_ms;        /* per_request_deadline: when what was sent so far must be with the server */
};

struct smtpc_host {
    const char *name, *address;
    int family;
};

/* Whose password it is; smtpc_auth.c. */
struct smtpc_auth {
    char *user, *password; /* of an entry that was found */
    unsigned asked;        /* keys of the search */
    unsigned rounds;       /* lines that were sent */
    bool busy;             /* we have to say something, not the server */
    bool complete;         /* success may be believed */
    struct spawn *command; /* for a token */
    void (*found)(struct smtpc_job *, enum op_status);
    void (*token)(struct smtpc_job *, const char *why);
};

struct smtpc_job {
    struct transport_job job;
    const struct conf_client *conf;
    bool lmtp;
    struct loop_task start;
    /* where: smtpc_hosts.c */
    struct slice hops; /* those that were not tried */
    struct smtpc_nexthop hop;
    const char *destination;  /* the hop as tables have it: "example.com", "[mx.example.com]:587", a path */
    struct tls_policy policy; /* for the hop */
    const char *tls_key;      /* where it is from */
    bool plain;               /* TLS with this host was tried in vain */
    struct smtpc_auth auth;
    const struct smtpc_host *hosts;
    size_t nhosts, at; /* the host that is tried */
    unsigned sessions;
    const char *used;    /* the address of a kept connection that has failed us; NULL */
    bool final;          /* there is nobody else to try */
    struct outcome last; /* of the last host */
    struct smtpc_conn *conn;
    bool esmtp;           /* EHLO, not HELO */
    const char *discards; /* extensions that are not used with this server */
    /* whom: smtpc_rcpts.c */
    struct smtpc_rcpt *rcpts;
    const char *sender;  /* what MAIL says */
    size_t next_address; /* that smtpc_edit.c asks for: 0 is the sender */
    /* the transaction: smtpc_txn.c */
    size_t *order;             /* its recipients */
    size_t n, sent, received;  /* recipients; commands sent and answered: MAIL, RCPT for each, DATA */
    size_t accepted, finished; /* of the accepted how many have their reply to the end of data */
    bool refused;              /* all of it; the rest of the replies is of no interest */
    struct outcome refusal;
    bool out_of_step; /* the connection cannot be used any more */
    struct smtpc_body body;
};

/* smtpc.c: the job is over; every recipient has been told, or is told `last`. */
void smtpc_end(struct smtpc_job *);

/* ---- smtpc_hosts.c ---- */

/* All next hops of a destination: the fallback relays are behind its own. */
const char *smtpc_hosts_hops(struct arena *, const struct conf_client *, const char *nexthop);
/* Begins with the first next hop. */
void smtpc_hosts_begin(struct smtpc_job *);
/* The one that is tried is of no use: the next, or the end. Recipients that are not told keep what it said. */
void smtpc_hosts_next(struct smtpc_job *, const struct outcome *);
/* A kept connection was dead before it could be used: another one to the same destination. */
void smtpc_hosts_again(struct smtpc_job *);
/* The next hop cannot be used. */
void smtpc_hosts_unusable(struct smtpc_job *, const struct outcome *);
/* The same host again, in clear. */
void smtpc_hosts_plain(struct smtpc_job *);
/* The connection's work for this job is done: keeps it for the next one or ends it. `reset`: a transaction is open. */
void smtpc_hosts_release(struct smtpc_job *, bool reset);

/* ---- smtpc_hello.c ---- */

void smtpc_hello(struct smtpc_job *);
/* TLS has begun: what the server said in clear is forgotten. */
void smtpc_hello_again(struct smtpc_job *);
/* The session is open: mail can go. */
void smtpc_hello_ready(struct smtpc_job *);
/* The host is of no use. `polite`: it is still listening. */
void smtpc_hello_refuse(struct smtpc_job *, const struct outcome *, bool polite);

/* ---- smtpc_tls.c, smtpc_auth.c, smtpc_token.c ---- */

/* "smtp" or "lmtp": what names of parameters begin with. */
const char *smtpc_prefix(const struct transport *);
/* As maps_new, for the parameter of this name; complaints say its name. */
struct maps *smtpc_maps(const struct transport *, const char *name, const char *list, struct buf *lines);
/* Complaints of a transport, lines, which are released. */
void smtpc_complain(const struct transport *, struct buf *err, struct buf *lines);
void smtpc_tls_open(struct transport *, struct smtpc_own *, struct buf *err);
void smtpc_tls_close(struct smtpc_own *);
/* The policy for the next hop, and then smtpc_hosts_again or smtpc_hosts_unusable. */
void smtpc_tls_find(struct smtpc_job *);
/* A connection is there. */
void smtpc_tls_begin(struct smtpc_job *);
/* The server has said what it can do: TLS if need be, then AUTH, then smtpc_hello_ready. */
void smtpc_tls_after_hello(struct smtpc_job *);
/* The connection is lost. True: TLS may be the reason, and the job goes on in clear. */
bool smtpc_tls_lost(struct smtpc_job *);

void smtpc_auth_open(struct transport *, struct smtpc_own *, struct buf *err);
void smtpc_auth_close(struct smtpc_own *);
/* What decides who we are at a server: a part of the names of kept connections. */
const char *smtpc_auth_key(struct smtpc_job *);
/* Looks for user and password for the host that is tried: OP_OK, OP_NOTFOUND, OP_TEMPFAIL. */
void smtpc_auth_find(struct smtpc_job *, void (*done)(struct smtpc_job *, enum op_status));
/* AUTH, if it is offered and there is a password. */
void smtpc_auth(struct smtpc_job *);
void smtpc_auth_release(struct smtpc_job *);

void smtpc_token_open(struct transport *, struct smtpc_own *);
void smtpc_token_close(struct smtpc_own *);
/* Makes auth.password of auth.user; `why` is NULL then. May be answered within the call. */
void smtpc_token_ask(struct smtpc_job *, void (*done)(struct smtpc_job *, const char *why));
/* The server does not take it. */
void smtpc_token_forget(struct smtpc_job *);
void smtpc_token_cancel(struct smtpc_job *);

/* ---- smtpc_txn.c ---- */

/* The session is open: the transaction, with all recipients that are left. */
void smtpc_txn(struct smtpc_job *);
/* The header was looked at: does the message need SMTPUTF8? */
void smtpc_txn_looked(struct smtpc_job *, bool needs_utf8);
/* Sends what may be sent. */
void smtpc_txn_pump(struct smtpc_job *);
/* The connection is lost, or out of step, at any time. */
void smtpc_lost(struct smtpc_job *, enum outcome_loss);
/* The queue cannot be read. */
void smtpc_unreadable(struct smtpc_job *, const struct outcome *);

/* Handlers of replies. */
#define SMTPC_STEP(id, timeout, command, doing, handler)                                                               \
    void handler(struct smtpc_job *, const struct outcome_reply *, const struct smtp_answer *);
#include "delivery/smtpc_steps.def"
#undef SMTPC_STEP
/* "RCPT TO command", "sending RCPT TO". */
const char *smtpc_command(enum smtpc_step);
const char *smtpc_doing(enum smtpc_step);

/* ---- smtpc_commands.c ---- */

/* Appends the command with its line end. */
void smtpc_put_mail(struct smtpc_job *, struct buf *);
void smtpc_put_rcpt(struct smtpc_job *, size_t index, struct buf *);

/* ---- smtpc_body.c ---- */

/* Begins to read; `look`: smtpc_txn_looked is called when the first piece is there. */
void smtpc_body_begin(struct smtpc_job *, bool look);
/* The server waits for it. */
void smtpc_body_go(struct smtpc_job *);
/* The server takes it: it has its time for more. */
void smtpc_body_progress(struct smtpc_job *);
/* More can be sent. */
void smtpc_body_push(struct smtpc_job *);
void smtpc_body_release(struct smtpc_job *);

/* ---- smtpc_edit.c ---- */

/* Opens the tables of a transport, with complaints. */
struct smtpc_own *smtpc_edit_open(struct transport *, struct buf *err);
void smtpc_edit_close(struct transport *);
/* Finds out what MAIL and RCPT say, and begins with the first next hop. */
void smtpc_edit_envelope(struct smtpc_job *);
/* An editor for the content that is to be sent; NULL: it stays as it is. Sets body.checks. */
struct content_edit *smtpc_edit_content(struct smtpc_job *, const struct content_edit_events *);
/* The event `action` of that editor: `arg` is the job. */
void smtpc_edit_action(void *arg, enum content_action, const char *where, struct slice unit, const char *text);

/* ---- smtpc_rcpts.c ---- */

bool smtpc_rcpts_any(const struct smtpc_job *, enum smtpc_rcpt_state);
/* All in one state get another. */
void smtpc_rcpts_turn(struct smtpc_job *, enum smtpc_rcpt_state from, enum smtpc_rcpt_state to);
/* Tells one, or when another host is to be tried first, keeps it for that. */
void smtpc_rcpts_result(struct smtpc_job *, size_t index, const struct outcome *);
/* The same for all in this state. */
void smtpc_rcpts_results(struct smtpc_job *, enum smtpc_rcpt_state, const struct outcome *);
/* Tells everybody who is left what became of them last. */
void smtpc_rcpts_close(struct smtpc_job *);

#endif
