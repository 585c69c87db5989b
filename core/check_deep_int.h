/* What the files of the deep check share: see check_deep.h. */
#ifndef MTA_CHECK_DEEP_INT_H
#define MTA_CHECK_DEEP_INT_H

#include "core/check_deep.h"

#include "core/base/list.h"

enum deep_verdict {
    DEEP_OK,
    DEEP_WARN, /* works, and hardly as it was meant */
    DEEP_FAIL,
};

struct deep {
    struct loop *loop;
    struct op_scope scope; /* of everything that is tried */
    const struct conf *conf;
    struct conf_texts *texts;
    const struct setup *setup;
    struct tables *tables;
    FILE *out;
    struct arena arena;
    struct list tries; /* begun and not printed, in this order */
    struct check_deep_result result;
    size_t under_way; /* tries without a verdict */
    struct timer limit;
    bool late;
};

/* ---- check_deep.c: one thing that is tried ---- */

struct deep_try;

/* Begins one; the text names it. It gets one verdict, at once or later. */
struct deep_try *deep_begin(struct deep *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The text says what was found. The try is gone. */
void deep_end(struct deep_try *, enum deep_verdict, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* " (PARAMETER, FILE:LINE)" or " (PARAMETER)", in the arena: behind the name of what a parameter names. */
const char *deep_source(struct deep *, const char *parameter, const struct conf_place *);
/* The value of a parameter for a listener (NULL: for all), "" when it has none; the place may be NULL. */
const char *deep_text(struct deep *, const struct conf_section *listener, const char *name, struct conf_place *place);

/* ---- the rest, a file each; each begins its tries ---- */

void deep_tables(struct deep *);
void deep_sockets(struct deep *);
void deep_certs(struct deep *);
void deep_files(struct deep *);
void deep_names(struct deep *);
/* Whether a stranger may relay. */
void deep_relay(struct deep *);

#endif
