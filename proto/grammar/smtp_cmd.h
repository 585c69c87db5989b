/* One SMTP command line: verb and argument (RFC 5321 section 4.1.1). Pure. */
#ifndef MTA_GRAMMAR_SMTP_CMD_H
#define MTA_GRAMMAR_SMTP_CMD_H

#include "core/base/slice.h"

enum smtp_cmd_result {
    SMTP_CMD_OK,
    SMTP_CMD_EMPTY,     /* nothing but white space */
    SMTP_CMD_BAD_BYTES, /* a NUL, CR or LF within the line */
};

struct smtp_cmd {
    struct slice verb; /* as sent, without white space; compare with slice_ieq */
    struct slice args; /* everything after it, without white space around it; may be empty */
};

/* Splits a line that was received without its line end. The slices point into `line`; both are empty unless OK. */
enum smtp_cmd_result smtp_cmd_parse(struct slice line, struct smtp_cmd *);

/*
 * MAIL and RCPT: is args "KEYWORD:..." (in any case)? *path is then what follows the colon and white space, for
 * address_parse_path; it may be empty. `keyword` is "FROM" or "TO".
 */
bool smtp_cmd_keyword(struct slice args, const char *keyword, struct slice *path);

#endif
