/*
 * The command line of a pipe transport: `argv` compiled once for a configuration, expanded for each delivery. There is
 * no shell and no quoting: white space separates, { } keeps an argument together, a macro stays inside its argument
 * whatever it expands to. Section 1.5 of postfix-semantics, pipe(8). Pure.
 */
#ifndef MTA_DELIVERY_PIPE_ARGS_H
#define MTA_DELIVERY_PIPE_ARGS_H

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/queue/envelope.h"

struct pipe_args;

/* What macros expand to. Strings may be NULL where nothing is known; addresses are in internal form. */
struct pipe_facts {
    const struct envelope *message;
    const struct envelope_rcpt *rcpts;
    size_t nrcpts;
    const char *nexthop;
    const char *null_sender;         /* stands for the null sender; may be "" */
    const char *recipient_delimiter; /* a set of characters; "": none */
    unsigned flags;                  /* CONF_PIPE_FLAG_FOLD_DOMAIN, _FOLD_USER, _QUOTE */
    bool allow_options;              /* a macro may begin an argument with '-' (allow_min_user) */
};

/* Compiles into the arena. NULL, and one sentence in `err`, for an empty command, an unknown macro, unbalanced braces.
 */
const struct pipe_args *pipe_args_compile(struct arena *, const char *argv, struct buf *err);
/*
 * The NULL-terminated argument vector, in the arena. An argument that mentions a recipient comes once for each of
 * them; an argument whose macros are empty stays, as an empty argument. There is always an argv[0]. NULL when a macro
 * would make an option of an argument: "${extension}" of "user+-x@example.com".
 */
const char **pipe_args_expand(const struct pipe_args *, const struct pipe_facts *, struct arena *);

#endif
