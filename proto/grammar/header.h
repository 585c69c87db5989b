/*
 * Message headers (RFC 5322 section 2.2, 3.6) in content whose lines end in '\n': a scanner for content that comes in
 * pieces, and an iterator over a header section that is in memory. Pure.
 *
 * The header section ends at the first empty line, or before the first line that is neither "Name:..." nor a
 * continuation; then the empty line between header and body is missing.
 */
#ifndef MTA_GRAMMAR_HEADER_H
#define MTA_GRAMMAR_HEADER_H

#include "core/base/buf.h"

#define HEADER_ID_MAX 256 /* bytes kept of a Message-Id */

/* Zero-initialised is ready. Callers read the fields of the first part only. */
struct header_scan {
    unsigned received; /* Received: headers */
    bool has_message_id, has_date, has_from;
    bool has_resent; /* any Resent-* */
    bool has_resent_message_id, has_resent_date, has_resent_from;
    bool mbox_line; /* opens with an mbox "From " line: a header once the caller puts a name before it */
    char message_id[HEADER_ID_MAX + 1]; /* value of the first Message-Id: unfolded, trimmed, cut; "" when none */
    bool ended;                         /* the header section is over; nothing here changes any more */
    bool no_separator;                  /* ended by a body without an empty line: one is to be inserted at `settled` */
    uint64_t settled; /* content before this offset is header for sure; once ended: where the section ends, at the
                         empty line if there is one */
    uint64_t longest; /* bytes of the longest header so far, with its continuations */

    int state, header; /* `header` is the kind of the current one */
    uint64_t offset, header_start;
    char name[24];
    size_t name_len, id_len;
};

/* The next piece of content; costs nothing once the section has ended. */
void header_scan_feed(struct header_scan *, struct slice piece);
/* The content is over: settles a section that has no body. */
void header_scan_finish(struct header_scan *);

/*
 * Takes the next header from *rest. `raw` is all of it with the final '\n'; `value` begins after the colon and white
 * space and has no final '\n', but is folded as it was. False at the end of the section: *rest is then the empty line
 * and the body (or the first line of the body when there is no empty line, or empty).
 */
bool header_next(struct slice *rest, struct slice *name, struct slice *value, struct slice *raw);

/* Appends a folded value as one line, trimmed: each line break with the white space after it becomes one space. */
void header_unfold(struct buf *, struct slice value);

#endif
