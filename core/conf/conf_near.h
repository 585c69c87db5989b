/* Near misses, for "did you mean": which of the right names is the one that was mistyped. Pure. */
#ifndef MTA_CONF_NEAR_H
#define MTA_CONF_NEAR_H

/* The candidate that differs from `name` by no more than a slip of the pen and least of all. */
struct conf_near {
    const char *name;
    const char *best; /* NULL: none is near enough */
    unsigned distance;
};
void conf_near_try(struct conf_near *, const char *candidate);

#endif
