/*
 * An editor of message content that goes by: header_checks(5) and body_checks, and the addresses in headers. Used by
 * the server for what comes in and by the client for what goes out. Content has lines that end in '\n'; it is never
 * whole in memory, but the header or line that is looked at is.
 */
#ifndef MTA_CONTENT_EDIT_H
#define MTA_CONTENT_EDIT_H

#include "core/base/buf.h"
#include "core/loop/op.h"
#include "lookup/maps.h"

struct content_edit;

/* What a table said of a header or line, where it is more than a change of the text. */
enum content_action {
    CONTENT_REJECT,   /* text: "5.7.1 why", may be "" */
    CONTENT_DISCARD,  /* accept and forget */
    CONTENT_REDIRECT, /* text: the address that gets it instead of the recipients */
    CONTENT_BCC,      /* text: an address that gets it, too */
    CONTENT_HOLD,
    CONTENT_FILTER,  /* text: transport:nexthop */
    CONTENT_PREPEND, /* from here on only for the log */
    CONTENT_REPLACE,
    CONTENT_STRIP,
    CONTENT_PASS, /* nothing more of this message is checked */
    CONTENT_WARN,
    CONTENT_INFO,
    CONTENT_BAD, /* not an action: text is what the table answered */
};
/* "reject", "discard", ...: as the log has it. */
const char *content_action_name(enum content_action);

struct content_edit_events {
    /* Edited content, in order. */
    void (*write)(void *arg, struct slice bytes);
    /* `where` is "header", "mime-header", "nested-header" or "body", `unit` the header or line that it is about. */
    void (*action)(void *arg, enum content_action, const char *where, struct slice unit, const char *text);
    /* After content_edit_feed or content_edit_end answered false: all that was fed is done. */
    void (*ready)(void *arg);
    /* A table could not answer: the message cannot be taken now. What is fed from now on is thrown away. */
    void (*failed)(void *arg, const char *why);
};

/* All of it is borrowed and must live as long as the editor; NULL maps are empty ones. */
struct content_edit_config {
    const struct maps *header_checks, *mime_header_checks, *nested_header_checks, *body_checks;
    size_t header_size_limit, body_checks_size_limit, line_length_limit;
    unsigned mime_nesting_limit;
    /* The message is on its way out: what would be more than a change of its text is CONTENT_BAD. */
    bool changes_only;
    /*
     * Changes the address of a header; NULL: addresses stay. The op's result with OP_OK is a const char *, the new
     * address in internal form; with OP_TEMPFAIL a struct table_answer.
     */
    void (*rewrite)(void *arg, struct op_scope *, const char *address, bool sender, op_done_fn *done, void *owner);
    /* True: `rewrite` would leave the address as it is, so it is not asked. NULL: it is always asked. */
    bool (*leaves)(void *arg, const char *address, bool sender);
};

/* Is there anything to do by this configuration? */
bool content_edit_wanted(const struct content_edit_config *);
/* `within`: the scope of whoever edits, for traces. The callbacks never come after content_edit_free. */
struct content_edit *content_edit_new(const struct content_edit_config *, const struct content_edit_events *, void *arg,
                                      const struct op_scope *within);
/*
 * More content; true: it was done at once. False: a table is asked; nothing more may be fed until `ready` or `failed`.
 */
bool content_edit_feed(struct content_edit *, struct slice bytes);
/* The content is over; as content_edit_feed. */
bool content_edit_end(struct content_edit *);
/* Does it wait for a table? */
bool content_edit_busy(const struct content_edit *);
void content_edit_free(struct content_edit **);

#endif
