/*
 * What a server answers to a client: RFC 5321 section 4.2, enhanced codes of RFC 2034, read byte by byte as it comes.
 * A server is not trusted: what is kept of a reply is bounded, and a reply that goes on and on is an error. Pure.
 */
#ifndef MTA_GRAMMAR_SMTP_ANSWER_H
#define MTA_GRAMMAR_SMTP_ANSWER_H

#include "core/base/slice.h"

#define SMTP_ANSWER_KEPT 4096  /* bytes of a reply that are kept: the rest of its lines is read and dropped */
#define SMTP_ANSWER_MOST 65536 /* bytes of a reply after which it is an error */

enum smtp_answer_state {
    SMTP_ANSWER_MORE, /* not at its end yet */
    SMTP_ANSWER_DONE,
    SMTP_ANSWER_BAD, /* a line that is no reply, or too much of it */
};

/* Zero-initialised is ready. Callers read the first part only, when it is DONE (text: also when BAD). */
struct smtp_answer {
    int code;      /* of the last line */
    char dsn[12];  /* the last enhanced code whose class is the code's; "2.0.0" and so on where there is none */
    bool has_dsn;  /* there was one */
    size_t text_n; /* the lines with their codes, '\n' between them; text[text_n] is NUL */
    char text[SMTP_ANSWER_KEPT + 1];

    char head[4];
    size_t line_n, seen;
    size_t line_at; /* where the text of the current line begins */
    enum smtp_answer_state state;
};

/*
 * Takes bytes up to the end of the reply; *used says how many. After DONE the next call begins another reply; after BAD
 * there is nothing more to read from this server.
 */
enum smtp_answer_state smtp_answer_feed(struct smtp_answer *, struct slice in, size_t *used);

/* Takes the next line's text, without code and separator, off *rest, which begins as the answer's whole text. */
bool smtp_answer_line(struct slice *rest, struct slice *line);

/* Is `text` the start of an enhanced code (RFC 3463 section 2) of class `class`, '2' '4' or '5'? Its length, or 0. */
size_t smtp_answer_dsn(struct slice text, char class);

#endif
