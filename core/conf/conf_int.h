/*
 * Shared by the files of core/conf only. The way of a value: conf_parse (file -> assignments with their place) ->
 * conf_view (which text a name has in the file's or a listener's scope) -> conf_expand ($) -> conf_types (text ->
 * field) -> conf.c (the snapshot), conf_listener.c, conf_transport.c -> conf_check.c.
 */
#ifndef MTA_CONF_CONF_INT_H
#define MTA_CONF_CONF_INT_H

#include "core/conf/conf.h"
#include "core/conf/conf_near.h"

/* ---- conf_report.c ---- */

/* Into the order of files and lines, for the reader; complaints about one line stay in the order they were found. */
void conf_report_sort(struct conf_report *);

/* ---- conf_types.c: what a row says, and text -> field ---- */

enum conf_type {
    CONF_TYPE_BOOL,
    CONF_TYPE_INT,
    CONF_TYPE_SIZE,
    CONF_TYPE_DURATION,
    CONF_TYPE_STR,
    CONF_TYPE_ENUM,
};

enum conf_apply {
    CONF_APPLY_LISTENER, /* a [listener] may have its own */
    CONF_APPLY_RELOAD,
    CONF_APPLY_RESTART,
};

struct conf_word {
    const char *text;
    int value;
};

struct conf_row {
    const char *name;
    const char *def; /* NULL: COMPUTED */
    const char *min, *max;
    const struct conf_word *words; /* ends with a NULL text */
    const char *doc;
    size_t offset; /* of the field */
    enum conf_type type;
    enum conf_apply apply;
    unsigned types; /* rows of params_transport.def: bit (1 << enum conf_transport_type) for each type that takes it */
    bool verbatim;  /* the same: the text is not $-expanded */
};

extern const struct conf_row conf_rows[];
extern const size_t conf_nrows;
extern const struct conf_row conf_transport_rows[];
extern const size_t conf_ntransport_rows;
/* One for each kind of <transport>_... parameter; the name is what follows "<transport>_". */
extern const struct conf_row conf_dynamic_rows[];
extern const size_t conf_ndynamic_rows;

const struct conf_row *conf_row_find(const char *name);
const struct conf_row *conf_transport_row_find(const char *name);
extern const struct conf_word conf_words_transport_type[];

/*
 * Parses `text`, which is expanded already, checks the range and sets the field in `base`; strings are copied to the
 * arena. On failure false, and what is wrong, without the name, in `why`.
 */
bool conf_value_set(const struct conf_row *, void *base, const char *text, struct arena *, char *why, size_t why_size);
/* "a, b, c" of a word list. */
void conf_words_list(const struct conf_word *, char *out, size_t out_size);

/* ---- conf_lines.c: file -> logical lines ---- */

/* Where a physical line begins in the text of the logical one. */
struct conf_mark {
    size_t offset;
    int number;
};

struct conf_logical {
    struct buf text; /* the physical lines one after the other, without comments, blank lines and what ends a line */
    int number;      /* of the first */
    struct conf_mark *marks;
    size_t nmarks, cap;
};

/* The whole file into `out`, which the caller releases either way; NULL, or why it could not be read. */
const char *conf_lines_read(const char *path, struct buf *out);
/* Calls `found` for each logical line, which is there for the call; bad lines go to the report. */
void conf_lines_each(struct slice text, const char *path, struct conf_report *,
                     void (*found)(void *ctx, const struct conf_logical *), void *ctx);
/* The number of the physical line that the byte at `offset` of the text stands in. */
int conf_lines_number(const struct conf_logical *, size_t offset);

/* ---- conf_parse.c: file -> assignments ---- */

struct conf_assignment {
    const char *name, *value; /* of an option of a transport in master.cf, which is no setting: "-o name" */
    const char *file;
    int line;
};

enum conf_section_kind {
    CONF_SECTION_MAIN, /* before the first [section] */
    CONF_SECTION_LISTENER,
    CONF_SECTION_TRANSPORT,
};

struct conf_section {
    enum conf_section_kind kind;
    const char *name;
    const char *file;
    int line;
    struct conf_assignment *items; /* one for each name, the last definition; in the order of the file */
    size_t n, cap;
};

struct conf_source {
    struct arena arena;
    const char *path;              /* DIR/main.cf of a directory */
    struct conf_section *sections; /* [0] is CONF_SECTION_MAIN */
    size_t nsections, cap;
    /* Of a directory with Postfix's two files: */
    bool postfix;
    const char *master; /* DIR/master.cf */
    struct conf_service *services;
    size_t nservices, services_cap;
};

/*
 * Reads the file, or main.cf and master.cf of a directory; false when one cannot be read. Errors in it are in the
 * report; what is right can be used all the same. Clear the source either way.
 */
bool conf_parse_file(const char *path, struct conf_source *, struct conf_report *);
/* The same from memory, of a file; `path` is for complaints. */
void conf_parse_text(struct slice text, const char *path, struct conf_source *, struct conf_report *);
/* The same of a directory's two files: without [sections], with services. */
void conf_parse_postfix(struct slice main_cf, struct slice master_cf, const char *directory, struct conf_source *,
                        struct conf_report *);
void conf_source_clear(struct conf_source *);
struct conf_section *conf_section_add(struct conf_source *, enum conf_section_kind, const char *name, const char *file,
                                      int line);
/* The last definition counts: an earlier one is dropped, with a warning where it stands. */
void conf_section_assign(struct conf_section *, const struct conf_assignment *, struct conf_report *);
/* NULL when the section does not set it. */
const struct conf_assignment *conf_section_get(const struct conf_section *, const char *name);

/* ---- conf_edit.c: changes of a file's text ---- */

struct conf_change {
    enum conf_section_kind kind;
    const char *section; /* its name; NULL of CONF_SECTION_MAIN */
    const char *name, *value;
};

/*
 * Appends the text to `out` with the last definition of the parameter replaced, or a new one behind the last definition
 * of the section; false when there is no such section.
 */
bool conf_edit_set(struct slice text, const struct conf_change *, struct buf *out);
/* The same with every definition of the parameter in the section made a comment; false when there is none. */
bool conf_edit_unset(struct slice text, const struct conf_change *, struct buf *out);

/* ---- conf_master.c: master.cf -> services; conf_services.c: services -> sections ---- */

/* A word after the command; of a { group } what is inside. */
struct conf_argument {
    const char *text;
    const char *rest; /* the text of the line from here on, as it is written */
    int line;
};

enum conf_service_use {
    CONF_SERVICE_WRONG,     /* there is an error in it */
    CONF_SERVICE_LISTENER,  /* smtpd */
    CONF_SERVICE_TRANSPORT, /* a delivery agent */
    CONF_SERVICE_BUILT_IN,  /* a part of Postfix that is in the server here */
    CONF_SERVICE_LEFT_OUT,  /* not supported: `note` says what to do */
};

struct conf_service {
    const char *name, *type, *command;
    const char *maxproc; /* NULL: the default */
    bool chroot;
    int line;
    const struct conf_argument *args;
    size_t nargs;
    enum conf_service_use use;
    const char *note;                      /* of LEFT_OUT */
    const struct conf_assignment *options; /* -o name=value, in this order */
    size_t noptions;
    size_t section; /* of LISTENER and TRANSPORT: index in the source */
};

/* Adds the services to the source; errors go to the report, and a service with one is left out. */
void conf_master_parse(struct conf_source *, struct slice text, struct conf_report *);
/* Makes the sections, decides the services' use, and says what has no effect here. */
void conf_master_sections(struct conf_source *, struct conf_report *);

/* ---- conf_machine.c: what the machine says about itself ---- */

struct conf_address {
    int family; /* AF_INET, AF_INET6 */
    uint8_t bytes[16];
    unsigned prefix; /* of its network */
};

struct conf_machine {
    struct arena arena;
    const char *hostname; /* as gethostname has it */
    bool have_ipv6;
    struct conf_address *addresses; /* of all interfaces */
    size_t n, cap;
};

void conf_machine_load(struct conf_machine *);
void conf_machine_clear(struct conf_machine *);
void conf_machine_add(struct conf_machine *, const struct conf_address *);
/* "192.0.2.1" or "2001:db8::1", brackets around the latter allowed; the prefix becomes that of one host. */
bool conf_address_parse(struct slice text, struct conf_address *);
const char *conf_address_text(struct arena *, const struct conf_address *);
bool conf_address_loopback(const struct conf_address *);
/* Is this address's family in use? */
bool conf_address_wanted(const struct conf_machine *, const struct conf_address *, int inet_protocols);
/*
 * Appends the addresses that an inet_interfaces list stands for to `out` (all: those of every interface). Host names
 * are asked of the resolver. false, and the culprit in `bad`, when a word is no address and no known host.
 */
bool conf_machine_interfaces(const struct conf_machine *, const char *list, int inet_protocols,
                             struct conf_machine *out, struct slice *bad);
/* The list for $mynetworks that `style` stands for, given the addresses in `own`. */
const char *conf_machine_networks(struct arena *, const struct conf_machine *own, int style);

/* ---- conf_view.c: names -> texts in one scope ---- */

struct conf_view {
    const struct conf_source *source;
    const struct conf_section *listener; /* its assignments come first; or NULL */
    const struct conf_machine *machine;
    struct arena *arena; /* for what is worked out */
};

/* Why a text could not be worked out, and the parameter whose text is at fault ("" the one asked for). */
struct conf_failure {
    const char *culprit, *text;
};

/* The assignment in this scope; NULL: the default applies. */
const struct conf_assignment *conf_view_find(const struct conf_view *, const char *name);
/* The expanded value of a parameter, "" for an undefined one; NULL on failure. */
const char *conf_view_value(const struct conf_view *, const char *name, struct conf_failure *);
/* The same of a text that is not a parameter's. */
const char *conf_view_text(const struct conf_view *, const char *text, struct conf_failure *);
/* The default of a row or of <transport>_..., unexpanded; NULL when it is COMPUTED or there is no such parameter. */
const char *conf_view_default(const struct conf_view *, const char *name);
/* The transports there are without a section. */
struct conf_builtin {
    const char *name;
    enum conf_transport_type type;
};
extern const struct conf_builtin conf_builtins[];
extern const size_t conf_nbuiltins;
/* Is there such a transport, declared or built in? */
bool conf_view_has_transport(const struct conf_view *, struct slice name);
/* The row of "<transport>_<suffix>" for a transport there is, or NULL. */
const struct conf_row *conf_view_dynamic(const struct conf_view *, const char *name);

/* ---- conf_expand.c: the $ language ---- */

struct conf_frame; /* a parameter whose text is being expanded */

struct conf_expansion {
    const struct conf_view *view;
    const struct conf_frame *top;
    unsigned depth;
    struct conf_failure failure;
};

/* Appends the expanded text to `out`; false with x->failure set. */
bool conf_expand_text(struct conf_expansion *, struct slice text, struct buf *out);
/* Appends the expanded value of a parameter; nothing for an undefined one. */
bool conf_expand_name(struct conf_expansion *, const char *name, struct buf *out);
/* conf_view.c: the text of a parameter before expansion; NULL when it is undefined; false with x->failure set. */
bool conf_view_raw(struct conf_expansion *, const char *name, const char **text);
/* conf_default.c: the text of a COMPUTED default; false with x->failure set. */
bool conf_default_compute(struct conf_expansion *, const char *name, const char **text);
/* The same in words, for readers. */
const char *conf_default_describe(const char *name);
/* The same: what a $myorigin that begins with a slash stands for, the first line of that file. */
bool conf_default_origin(struct conf_expansion *, const char *path, const char **text);
/* Is it a host or domain name, at most 255 bytes in labels of at most 63? */
bool conf_domain_valid(const char *);
/* Ends an expansion with what is wrong; answers false. */
bool conf_expand_fail(struct conf_expansion *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "3", "3.6", "3.6.1" -> a number that sorts as releases do; false when it is none. */
bool conf_level_parse(struct slice text, uint64_t *level);
/* Calls `found` for each $name in the text, evaluating nothing; `tested`: with ? or : behind it. */
void conf_expand_scan(const char *text, void (*found)(void *ctx, const char *name, bool tested), void *ctx);

/* ---- conf_restrict.c, conf_listener.c, conf_transport.c: lists of restrictions, the sections ---- */

/* Everything that conf_build works on. */
struct conf_build {
    const struct conf_source *source;
    const struct conf_machine *machine;
    struct conf_report *report;
    struct arena *arena; /* of the snapshot */
    struct conf *conf;   /* the root view, its fields set */
};

/* A snapshot with one reference; NULL when the report has errors. */
const struct conf *conf_build_snapshot(const struct conf_source *, const struct conf_machine *, struct conf_report *);
/*
 * Sets all fields in the view of one listener (NULL: of the file); complaints go to the report, and a field whose text
 * is wrong has its default, so that the other checks can go on.
 */
void conf_fill(const struct conf_build *, struct conf *out, const struct conf_section *listener);
/* Takes the restrictions that are not supported yet out of the smtpd_..._restrictions of one view, and says so. */
void conf_restrict(const struct conf_build *, const struct conf_view *, struct conf *);
/* Fills conf->listeners and conf->own_addresses. */
void conf_build_listeners(const struct conf_build *);
/*
 * Does the listener's own section ask for a protection that is not there yet? In an mta.conf that is an error. Of
 * a directory with Postfix's files this listener is not opened, with a warning, and all others are: a submission port
 * must not be open without its encryption, nor be a reason for port 25 to be closed.
 */
bool conf_listener_closed(const struct conf_build *, const struct conf_section *);
/* Fills conf->transports. */
void conf_build_transports(const struct conf_build *);

/* conf_client.c: a transport's view of smtp_... or lmtp_...; section NULL: built in. In the snapshot's arena. */
const struct conf_client *conf_build_client(const struct conf_build *, const struct conf_section *,
                                            enum conf_transport_type);
/* May a transport of this type have its own value of the parameter? */
bool conf_client_takes(enum conf_transport_type, const char *name);

/* The view of one listener's section; NULL: of the file. */
struct conf_view conf_build_view(const struct conf_build *, const struct conf_section *listener);
/* Adds a complaint about a parameter at the place where it is set in the view; the text begins with the name. */
void conf_complain(const struct conf_build *, const struct conf_view *, enum conf_severity, const char *name,
                   const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Adds that a text could not be worked out: where the culprit is set, else where `name` is. */
void conf_complain_failure(const struct conf_build *, const struct conf_view *, const char *name,
                           const struct conf_failure *);

/* ---- conf_check.c and its like ---- */

/* Everything that takes more than one value to judge. */
void conf_check(const struct conf_build *);
/* Who may relay in one view: mynetworks (syntax, host bits, everyone), and restrictions that keep strangers out. */
void conf_check_access(const struct conf_build *, const struct conf_view *, const struct conf *);
/* conf_check_traps.c: what is allowed, and hardly what was meant. */
void conf_check_traps(const struct conf_build *);
/* Unknown, unused, unsupported and misplaced names. */
void conf_check_names(const struct conf_build *);
/* Is the assignment, of this listener (NULL: of the file), one of CONF_KNOWN_DEMAND with a value that demands it? */
bool conf_check_demand(const struct conf_build *, const struct conf_section *listener, const struct conf_assignment *);

/* ---- conf_names.c: names we know besides the rows, and near misses ---- */

enum conf_known_kind {
    CONF_KNOWN_EQUIVALENT, /* done here in another way: `text` says how */
    CONF_KNOWN_HARMLESS,   /* means nothing here, without harm: `text` says why */
    CONF_KNOWN_LATER,      /* not supported yet: `text` says what for, as in "encryption of outgoing mail" */
    CONF_KNOWN_DEMAND,     /* not supported yet, and asks for a protection that would be missing: `text` says what would
                              happen without it */
    CONF_KNOWN_UNSUPPORTED, /* not to come: `text` says what to use instead */
};

/* A name of Postfix that is no parameter here. Texts are clauses: no capital, no full stop. */
struct conf_known {
    const char *name; /* of a <transport>_<suffix>: the suffix alone */
    enum conf_known_kind kind;
    bool suffix;
    const char *def;      /* Postfix's default, a value that asks for nothing */
    const char *harmless; /* DEMAND: more values that ask for nothing, separated by spaces; else NULL */
    const char *text;
};

extern const struct conf_known conf_known[];
extern const size_t conf_nknown;
/* NULL when it is not one of params_known.def; its <transport>_<suffix> rows too, for transports there are or will be.
 */
const struct conf_known *conf_known_find(const struct conf_view *, const char *name);
/* What is said of such a name to whoever asks: "not supported yet: AUTH". In the arena. */
const char *conf_known_text(const struct conf_known *, struct arena *);
/* Is it a name that means something: a row, <transport>_..., or params_known.def? */
bool conf_name_known(const struct conf_view *, const char *name);
/* Is it used as $name anywhere, in the file or in a default? */
bool conf_name_used(const struct conf_source *, const char *name);
/* Postfix's names for transports that come later: their <transport>_... parameters are known. */
bool conf_transport_to_come(struct slice name);
/* Is the text a way of saying "off": empty, no, none, 0? */
bool conf_value_off(const char *text);

/* The nearest of all names the view knows, or NULL; in the view's arena. */
const char *conf_name_nearest(const struct conf_view *, const char *name);

#endif
