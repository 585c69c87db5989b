/*
 * The structure of a message (RFC 2045, 2046) while its lines go by: which of them are headers, of what, and which are
 * body. Nothing is decoded. Pure; what it reads is untrusted, and memory is bounded by the limit on nesting.
 */
#ifndef MTA_GRAMMAR_MIME_SCAN_H
#define MTA_GRAMMAR_MIME_SCAN_H

#include "core/base/buf.h"

#include <stdint.h>

#define MIME_BOUNDARY_MAX 256 /* RFC 2046 section 5.1.1 allows 70 */

enum mime_where {
    MIME_PRIMARY_HEADER, /* of the message itself */
    MIME_PART_HEADER,    /* of a part of a multipart */
    MIME_NESTED_HEADER,  /* of a message in a part */
    MIME_END_OF_HEADER,  /* the empty line after one of them */
    MIME_BODY,
    MIME_BOUNDARY, /* "--boundary", "--boundary--" */
};

struct mime_boundary {
    struct mime_boundary *outer;
    bool digest; /* parts are messages where they do not say what they are */
    size_t n;
    char text[];
};

/* Zero-initialised is ready, at the beginning of a message. */
struct mime_scan {
    bool begun;
    bool body;              /* not in a header section */
    enum mime_where header; /* which one, when not */
    struct mime_boundary *boundaries;
    unsigned depth;
    unsigned nesting_limit; /* mime_nesting_limit; 0: 100 */
    bool too_deep;          /* the limit was met: what is deeper counts as body */
    /* of the header section that is read */
    bool is_message, is_digest;
    size_t boundary_n;
    char boundary[MIME_BOUNDARY_MAX];
};

/*
 * The next line, without its line end: what it is. A continuation of a header is of the same kind as the header. A line
 * that is neither a header nor a continuation ends the section: it is MIME_BODY.
 */
enum mime_where mime_scan_line(struct mime_scan *, struct slice line);
/*
 * A complete header of the section that is read ("Name: value" with its continuations): to be called for each before
 * the next line is given, so that Content-Type is known.
 */
void mime_scan_header(struct mime_scan *, struct slice header);
void mime_scan_release(struct mime_scan *);

#endif
