/* `mta --check-config --deep`: everything that the configuration names is tried. */
#ifndef MTA_CHECK_DEEP_H
#define MTA_CHECK_DEEP_H

#include "core/setup.h"

#include <stdio.h>

struct check_deep_result {
    size_t tried, failed, warned;
    bool stuck; /* something never answered and is still under way: waiting for it may take for ever */
};

/*
 * Tries tables, sockets, certificates, names, directories, commands and, with each listener's own code, whether a
 * stranger may relay; prints a line for each to `out`, with how long it took. Nothing is changed, and no lock is taken:
 * a server may be running. Returns within CHECK_DEEP_MOST_MS. `path` is where the configuration was read from.
 */
struct check_deep_result check_deep(struct loop *, const struct setup *, struct tables *, const char *path, FILE *out);

#define CHECK_DEEP_MOST_MS 15000

#endif
