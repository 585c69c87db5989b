/*
 * Logical lines, as Postfix reads its tables and query files: a line that begins with white space continues the one
 * before; empty lines and lines whose first visible character is '#' are skipped, also within a logical line. Pure.
 */
#ifndef MTA_LOOKUP_TEXT_LINES_H
#define MTA_LOOKUP_TEXT_LINES_H

#include "core/base/buf.h"

struct text_lines {
    struct slice rest; /* what is not read yet */
    int next;          /* number of the physical line that `rest` begins with, less one */
    int line;          /* where the current logical line began */
    struct buf logical;
};

void text_lines_start(struct text_lines *, struct slice text);
/*
 * The next logical line, without line ends, valid until the next call. One that begins with white space (so the text
 * begins with a continuation) is given as it is.
 */
bool text_lines_next(struct text_lines *, struct slice *line);
void text_lines_end(struct text_lines *);

#endif
