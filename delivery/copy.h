/*
 * What a delivery agent does to a message on its way out: headers put before it, line endings, quoting of lines
 * (section 1.5 of postfix-semantics: flags D O R F B . and >). Shared by pipe and maildir. Pure.
 */
#ifndef MTA_DELIVERY_COPY_H
#define MTA_DELIVERY_COPY_H

#include "core/base/buf.h"

/* Borrowed for as long as the copy goes on. Addresses are in internal form. */
struct copy_opts {
    unsigned flags;          /* CONF_PIPE_FLAG_ bits of core/conf/conf.h; those that are not about content do nothing */
    struct slice eol;        /* what ends a line: "\n" */
    const char *sender;      /* with the null sender replaced; "" stays "" */
    const char *original_to; /* NULL or "": no X-Original-To: */
    const char *delivered_to;
    uint64_t now_us; /* wall clock, for the From_ line */
};

struct copy {
    struct copy_opts opts;
    bool in_line;  /* the last byte was not the end of a line */
    unsigned held; /* bytes of "From " at the start of a line that wait for the rest */
};

/* Begins: appends the From_ line and headers to `out`, which must have no limit. */
void copy_begin(struct copy *, const struct copy_opts *, struct buf *out);
/* Appends the next piece of content, cut anywhere, whose lines end in '\n'. */
void copy_piece(struct copy *, struct slice piece, struct buf *out);
/* The content is over: ends its last line, and adds the blank line of flag B. */
void copy_end(struct copy *, struct buf *out);

#endif
