/*
 * The configuration: a file in the language of Postfix's main.cf with [listener NAME] and [transport NAME] sections,
 * loaded into an immutable snapshot. Every parameter is one row of params_*.def and one field here.
 */
#ifndef MTA_CONF_CONF_H
#define MTA_CONF_CONF_H

#include "core/base/arena.h"
#include "core/base/buf.h"

#include <stdio.h>
#include <sys/types.h>

/* One enum for each set of words.def: enum conf_bare_newline { CONF_BARE_NEWLINE_NO, ... }. */
/* clang-format off */
#define CONF_SET_BEGIN(set)    enum conf_##set {
#define CONF_WORD(SET, id, w)  CONF_##SET##_##id,
#define CONF_ALIAS(SET, id, w)
#define CONF_SET_END(set)      CONF_SET_SIZE_##set };
/* clang-format on */
#include "core/conf/words.def"
#undef CONF_SET_BEGIN
#undef CONF_WORD
#undef CONF_ALIAS
#undef CONF_SET_END

#define CONF_FIELD_BOOL(name)     bool name;
#define CONF_FIELD_INT(name)      int64_t name;
#define CONF_FIELD_SIZE(name)     int64_t name;
#define CONF_FIELD_DURATION(name) uint64_t name##_ms;
#define CONF_FIELD_STR(name)      const char *name;
#define CONF_FIELD_ENUM(name)     int name;

/* ---- complaints ---- */

enum conf_severity {
    CONF_SEVERITY_WARNING,
    CONF_SEVERITY_ERROR,
};

struct conf_complaint {
    enum conf_severity severity;
    const char *file; /* never NULL */
    int line;         /* 0: about the whole */
    const char *text; /* one sentence without the place */
};

/* All there is to complain about. Embed it; zero-initialised is empty; conf_report_clear gives the memory back. */
struct conf_report {
    struct arena arena;
    struct conf_complaint *items;
    size_t n, cap;
    size_t nerrors, nwarnings;
};

/* Adds a complaint; one that is there already (same place, same text) is not repeated. */
void conf_report_add(struct conf_report *, enum conf_severity, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* One line each: "FILE:LINE: error: TEXT". */
void conf_report_text(const struct conf_report *, struct buf *);
void conf_report_print(const struct conf_report *, FILE *);
void conf_report_clear(struct conf_report *);

/* ---- the snapshot ---- */

/* A numeric address to listen on ("0.0.0.0" and "::" for all). */
struct conf_listen {
    const char *host;
    uint16_t port;
};

struct conf_listener {
    const char *name;
    const struct conf_listen *listen;
    size_t nlisten;
    const struct conf *conf; /* with this listener's overrides applied: every field; conf_ref it to keep it */
    const char *file;        /* where it was declared; line 0: built in */
    int line;
};

/* What a letter of a pipe transport's `flags` asks for. */
enum conf_pipe_flag {
    CONF_PIPE_FLAG_DELIVERED_TO = 1 << 0, /* D */
    CONF_PIPE_FLAG_ORIGINAL_TO = 1 << 1,  /* O */
    CONF_PIPE_FLAG_RETURN_PATH = 1 << 2,  /* R */
    CONF_PIPE_FLAG_FINAL = 1 << 3,        /* X */
    CONF_PIPE_FLAG_FOLD_DOMAIN = 1 << 4,  /* h */
    CONF_PIPE_FLAG_FOLD_USER = 1 << 5,    /* u */
    CONF_PIPE_FLAG_QUOTE = 1 << 6,        /* q */
    CONF_PIPE_FLAG_FROM_LINE = 1 << 7,    /* F */
    CONF_PIPE_FLAG_BLANK_LINE = 1 << 8,   /* B */
    CONF_PIPE_FLAG_DOT = 1 << 9,          /* . */
    CONF_PIPE_FLAG_QUOTE_FROM = 1 << 10,  /* > */
};

/*
 * The parameters smtp_... or lmtp_... as one transport of these types has them: its own settings first, then the
 * file's. One field for each row of params_client.def.
 */
struct conf_client {
#define NO_LIMIT
#define CLIENT(name, TYPE, def, limits, doc)                CONF_FIELD_##TYPE(name)
#define CLIENT_ENUM(name, def, words, doc)                  CONF_FIELD_ENUM(name)
#define CLIENT_AS(name, smtp, lmtp, TYPE, def, limits, doc) CONF_FIELD_##TYPE(name)
#define CLIENT_SMTP(name, TYPE, def, limits, doc)           CONF_FIELD_##TYPE(name)
#define CLIENT_LMTP(name, TYPE, def, limits, doc)           CONF_FIELD_##TYPE(name)
#include "core/conf/params_client.def"
#undef NO_LIMIT
#undef CLIENT
#undef CLIENT_ENUM
#undef CLIENT_AS
#undef CLIENT_SMTP
#undef CLIENT_LMTP
    const char *syslog_name; /* in front of the log lines of its deliveries */
};

/* A transport: one that a section declares, or a built-in one (error, retry, discard, virtual). */
struct conf_transport {
    const char *name;
    enum conf_transport_type type;
    bool usable; /* false: this type is not supported yet, its mail is deferred */
    /* One field for each row of params_transport.def; those of other types have their default. */
#define TRANSPORT_PARAM(types, name, TYPE, def, range, expand, doc) CONF_FIELD_##TYPE(name)
#include "core/conf/params_transport.def"
#undef TRANSPORT_PARAM
    unsigned pipe_flags;  /* `flags` as CONF_PIPE_FLAG_ bits */
    const char *pipe_eol; /* `eol` with its backslash escapes undone */
    size_t pipe_eol_len;
    bool has_user; /* `user` is set: uid and gid say who the command runs as, neither is ever 0 */
    uid_t uid;
    gid_t gid;
    /* One field for each row of params_dynamic.def: NAME_destination_recipient_limit, ..., NAME_time_limit. */
#define DYNAMIC_PARAM(name, TYPE, def, range, doc) CONF_FIELD_##TYPE(name)
#include "core/conf/params_dynamic.def"
#undef DYNAMIC_PARAM
    const struct conf_client *client; /* types smtp and lmtp; else NULL */
    const char *file;                 /* where it was declared; line 0: built in */
    int line;
};

/* Where something is set. */
struct conf_place {
    const char *file;
    int line;
};

struct conf_store;   /* private: memory and reference count */
struct conf_setting; /* private: a name that is set, and its place */

/* The fields are in the order of the rows. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct conf {
#define PARAM(name, TYPE, def, range, apply, doc)              CONF_FIELD_##TYPE(name)
#define PARAM_NAMED(field, name, TYPE, def, range, apply, doc) CONF_FIELD_##TYPE(field)
#include "core/conf/params.def"
#undef PARAM
#undef PARAM_NAMED
    const char *path; /* the file it was read from; DIR/main.cf of a directory */
    /* The same in every listener's view. */
    const struct conf_listener *listeners; /* none only of a directory with Postfix's files */
    size_t nlisteners;
    const struct conf_transport *transports; /* declared ones, then built-in ones */
    size_t ntransports;
    const char *const *own_addresses; /* numeric: those of $inet_interfaces, then of $proxy_interfaces */
    size_t nown_addresses;
    const struct conf_setting *settings; /* those of this view */
    size_t nsettings;
    struct conf_store *store;
};

/*
 * Reads and checks the file, or the main.cf and master.cf of a directory, reports everything there is to complain
 * about, and answers a snapshot with one reference, or NULL when there are errors. Blocks: reads files (the
 * configuration, $myorigin, /etc/passwd) and the list of interfaces; asks the resolver only for host names in
 * inet_interfaces and listen.
 */
const struct conf *conf_load(const char *path, struct conf_report *);
/* A snapshot lives as long as a reference to it or to one of its listeners' views is held. Loop thread only. */
const struct conf *conf_ref(const struct conf *);
/* Nulls the pointer; NULL in it is fine. */
void conf_unref(const struct conf **);

/*
 * Appends the expanded value of one parameter of the file, which may be wrong elsewhere; false when it cannot be worked
 * out. Blocks as conf_load.
 */
bool conf_ask(const char *path, const char *name, struct buf *out);
/*
 * The parameters as text, those too that are no field: names of parts to come, names the user made up. Answers NULL
 * when there is no such file. Blocks as conf_load; any thread.
 */
struct conf_texts;
struct conf_section; /* private: a listener's */
struct conf_texts *conf_texts_read(const char *path);
/* Nulls the pointer; NULL in it is fine. */
void conf_texts_free(struct conf_texts **);
/* Walks the listeners, those that are not opened too: NULL for the first; NULL behind the last. */
const struct conf_section *conf_texts_next(const struct conf_texts *, const struct conf_section *listener);
/*
 * The expanded value for a listener (NULL: for the file), set or default, "" when it is undefined; NULL when it cannot
 * be worked out. `place`, unless NULL, gets where it is set, line 0 when it is not. All live as long as the texts.
 */
const char *conf_texts_get(struct conf_texts *, const struct conf_section *listener, const char *name,
                           struct conf_place *place);
/* Adds a warning for each parameter that differs and that a reload does not change. */
void conf_warn_restart(const struct conf *old, const struct conf *fresh, struct conf_report *);

/* By name; NULL when there is none. */
const struct conf_transport *conf_transport_find(const struct conf *, const char *name);
/* Does a class of addresses use it: local_transport, virtual_transport and so on? (transport_maps may, too.) */
bool conf_transport_used(const struct conf *, const struct conf_transport *);
/*
 * Where a parameter is set in this view, a listener's own setting first; false, and *place as it was, when it is not
 * set. The file's name lives as long as the snapshot.
 */
bool conf_where(const struct conf *, struct slice name, struct conf_place *place);
/* "25", "smtp": a number or the name of a service, also one that only /etc/services knows. */
bool conf_port_parse(struct slice text, uint16_t *port);
/* Is this numeric address ("192.0.2.1", "2001:db8::1") one of own_addresses? */
bool conf_is_own_address(const struct conf *, const char *address);

/* ---- mta config show ---- */

enum conf_show_mode {
    CONF_SHOW_ALL,      /* set ones, defaults for the rest */
    CONF_SHOW_SET,      /* -n */
    CONF_SHOW_DEFAULTS, /* -d */
    CONF_SHOW_EXPANDED, /* -x: as the first, worked out */
};
/*
 * postconf: "name = value" lines as written, not expanded, sorted; with names only those, in the order asked for.
 * Syntax errors and "unknown parameter" warnings go to err. Answers the exit status, postconf's. With
 * CONF_SHOW_DEFAULTS `path` is not read.
 */
int conf_show(const char *path, enum conf_show_mode, const char *const *names, size_t nnames, FILE *out, FILE *err);

/* ---- mta config set, unset ---- */

/*
 * Changes the file, or main.cf of a directory: sets NAME=VALUE..., or with `set` false makes the definitions of NAME...
 * comments; listener/SECTION/NAME and transport/SECTION/NAME are those of a section. All or nothing, by one rename;
 * comments, order, owner and mode stay. Unknown names, and changes that make an error, are refused, and err says why.
 * Answers the exit status. Blocks: disk.
 */
int conf_set(const char *path, bool set, const char *const *args, size_t nargs, FILE *err);

/* ---- mta config doc ---- */

enum conf_doc_format {
    CONF_DOC_MAN,     /* the source of mta.conf(5) */
    CONF_DOC_MD,      /* Markdown */
    CONF_DOC_EXAMPLE, /* mta.conf.example */
};
/* Writes the reference of all parameters. */
void conf_doc(enum conf_doc_format, FILE *out);

/* ---- mta config import ---- */

/*
 * Prints the mta.conf that means the same as a directory with Postfix's main.cf and master.cf to out, and on err what
 * becomes of each of their lines. Answers the exit status: 1, and nothing on out, when they have errors of syntax.
 */
int conf_import(const char *directory, FILE *out, FILE *err);

#endif
