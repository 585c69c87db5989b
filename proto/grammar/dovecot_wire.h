/*
 * The lines of Dovecot's authentication protocol, version 1 (its documentation: "Dovecot Authentication Protocol"), as
 * a client of the auth service reads and writes them: words between TABs, a byte that cannot be in a word as \001 and a
 * letter. Pure.
 */
#ifndef MTA_GRAMMAR_DOVECOT_WIRE_H
#define MTA_GRAMMAR_DOVECOT_WIRE_H

#include "core/base/buf.h"

/* The longest line with its LF that Dovecot takes: a longer one costs the connection. It sends none longer, either. */
#define DOVECOT_LINE_MAX 16384
#define DOVECOT_MAJOR    1
/* With 3 it would offer mechanisms that bind to the TLS channel. */
#define DOVECOT_MINOR 2

enum dovecot_kind {
    DOVECOT_VERSION, /* major, minor */
    DOVECOT_MECH,    /* text, properties */
    DOVECOT_SPID,    /* text: the service's process */
    DOVECOT_DONE,
    DOVECOT_OK,   /* id, fields */
    DOVECOT_FAIL, /* id, fields */
    DOVECOT_CONT, /* id, text: the challenge in base64, not checked */
    DOVECOT_UNKNOWN,
    DOVECOT_MALFORMED, /* one of the above whose first words are missing or no numbers */
};

/* What MECH says about a mechanism. */
enum dovecot_property {
    DOVECOT_PROPERTY_PLAINTEXT = 1,
    DOVECOT_PROPERTY_DICTIONARY = 2,
    DOVECOT_PROPERTY_ACTIVE = 4,
    DOVECOT_PROPERTY_ANONYMOUS = 8,
    DOVECOT_PROPERTY_FORWARD_SECRECY = 16,
    DOVECOT_PROPERTY_MUTUAL = 32,
    DOVECOT_PROPERTY_PRIVATE = 64,
    DOVECOT_PROPERTY_CHANNEL_BINDING = 128,
};

struct dovecot_line {
    enum dovecot_kind kind;
    unsigned major, minor;
    uint32_t id;
    unsigned properties;
    struct slice text;
    /* Of OK and FAIL, with the escapes undone, so that any byte may be in them; empty: not there. */
    struct slice user, reason, code;
    bool temp;    /* FAIL: not the user's fault */
    bool authz;   /* FAIL: the password was right, but not for acting as somebody else */
    bool nologin; /* OK: or proxy: the user must not be let in here all the same */
};

/*
 * Reads one line, without its LF. The slices point into `scratch`, which is overwritten and should have no cap. Fields
 * in any order; unknown ones are ignored, those that are missing are empty.
 */
void dovecot_line_read(struct dovecot_line *, struct slice line, struct buf *scratch);

/* What begins an authentication. Any byte may be in the texts. */
struct dovecot_auth {
    const char *mechanism, *service;
    const char *lip, *rip; /* the server's and the client's address; "": not known */
    int lport, rport;      /* 0: not known */
    bool tls;
    const char *initial; /* the initial response in base64; NULL: none */
};

/* Append lines, with LF. */
void dovecot_write_hello(struct buf *, unsigned long pid);
/* `minor`: the server's, which says whether it knows what the connection is secured by. */
void dovecot_write_auth(struct buf *, uint32_t id, const struct dovecot_auth *, unsigned minor);
void dovecot_write_cont(struct buf *, uint32_t id, const char *response);
void dovecot_write_cancel(struct buf *, uint32_t id);

#endif
