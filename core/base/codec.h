/*
 * Encodings that are small enough to be ours: xtext (RFC 3461 section 4), base64 (RFC 4648), hexadecimal and printable
 * text. Pure.
 */
#ifndef MTA_BASE_CODEC_H
#define MTA_BASE_CODEC_H

#include "core/base/buf.h"

/* Appends `in` as xtext: "+XX" for everything outside 33..126 and for "+" and "=". */
bool codec_xtext_encode(struct buf *out, struct slice in);
/* Appends the decoded text; false (and `out` as it was) when `in` is not valid xtext. */
bool codec_xtext_decode(struct buf *out, struct slice in);
/* Appends base64, in one line and with its padding. */
void codec_base64_encode(struct buf *out, struct slice in);
/*
 * Appends the decoded bytes; false (and `out` as it was) when `in` is not what codec_base64_encode would have made:
 * another letter, white space, padding that is missing or hides bits.
 */
bool codec_base64_decode(struct buf *out, struct slice in);
/*
 * Makes `text` fit for one log or reply line, in place: control characters (C1 too) and malformed UTF-8 become '?'.
 * With `allow_utf8` false every byte above 126 does.
 */
void codec_printable(char *text, size_t n, bool allow_utf8);
/* Length in bytes of the well-formed UTF-8 sequence at the start of s (1 to 4), or 0 when there is none (RFC 3629). */
size_t codec_utf8_length(struct slice s);
/* Is all of s well-formed UTF-8? */
bool codec_utf8_valid(struct slice s);
/* Does s have a byte above 127? */
bool codec_has_8bit(struct slice s);

#endif
