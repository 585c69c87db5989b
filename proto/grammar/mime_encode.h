/*
 * 8-bit mail for a server that takes only 7 bits (RFC 6152 section 3): parts whose Content-Transfer-Encoding is 8bit or
 * binary become quoted-printable (RFC 2045 section 6.7), and the header of what contains them says 7bit. What is
 * labelled otherwise, or not at all, passes as it is. Content comes in pieces, its lines end in '\n'. Pure.
 */
#ifndef MTA_GRAMMAR_MIME_ENCODE_H
#define MTA_GRAMMAR_MIME_ENCODE_H

#include "core/base/buf.h"

#define MIME_ENCODE_DEPTH    20   /* of parts within parts; deeper ones pass as they are */
#define MIME_ENCODE_BOUNDARY 200  /* bytes of a boundary that can be understood */
#define MIME_ENCODE_HELD     4096 /* bytes of a header, or of the start of a line, that are looked at as a whole */

struct mime_encode;

struct mime_encode *mime_encode_new(void);
/* Nulls the pointer; NULL in it is fine. */
void mime_encode_free(struct mime_encode **);
/* Appends what can be said after the next piece to `out`. */
void mime_encode_feed(struct mime_encode *, struct slice piece, struct buf *out);
/* The content is over: appends the rest. */
void mime_encode_end(struct mime_encode *, struct buf *out);

#endif
